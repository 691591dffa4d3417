"""What root does for a user's own daemon: his configuration is checked by himself, kept apart."""

from __future__ import annotations

import os
import sys

import pytest

from steplogd.config import ConfigError
from steplogd.installation import kinds, preparing
from steplogd.installation.planning import InstallError
from steplogd.installation.units import MARK
from tests.daemon import steplogd

PROBE = """
import os, sys
try:
    os.open("/dev/tty", os.O_RDWR)
    terminal = "a terminal"
except OSError:
    terminal = "no terminal"
own = "own session" if os.getsid(0) == os.getpid() else "another's session"
site = "own packages" if not sys.flags.no_user_site else "no own packages"
sys.exit(f"{os.readlink('/proc/self/fd/0')}, {terminal}, {own}, {site}")
"""

only_root = pytest.mark.skipif(os.geteuid() != 0, reason="only root can have another user check")


@pytest.fixture
def kind(monkeypatch: pytest.MonkeyPatch) -> kinds.Kind:
    """Give the service of a user who sees all that tests make."""
    monkeypatch.setattr(preparing, "_refuse_hidden", lambda *_: None)
    return kinds.of_user("root")


@only_root
def test_a_users_check_has_nothing_of_roots_at_hand(
    kind: kinds.Kind, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Neither terminal nor input, as whoever has them types commands for root."""
    monkeypatch.setattr(preparing, "program", lambda: [sys.executable, "-c", PROBE])

    with pytest.raises(ConfigError) as caught:
        preparing.texts_of_user(kind, "root")

    assert str(caught.value) == "/dev/null, no terminal, own session, no own packages"


@only_root
def test_a_users_check_that_hangs_is_given_up(
    kind: kinds.Kind, monkeypatch: pytest.MonkeyPatch
) -> None:
    """And said, with what to do."""
    program = [sys.executable, "-c", "import time; time.sleep(3600)"]
    monkeypatch.setattr(preparing, "program", lambda: program)
    monkeypatch.setattr(preparing, "_CHECK_SECONDS", 0.1)

    with pytest.raises(InstallError, match=r"root cannot check his configuration within 0\.1 s"):
        preparing.texts_of_user(kind, "root")


@pytest.mark.parametrize("command", ["install", "uninstall"])
@pytest.mark.parametrize("name", ["", "a b", "../x", "%i", "-x"])
def test_a_name_that_is_no_users_means_no_other_service(command: str, name: str) -> None:
    """Least of all that of the machine, as a variable that a script did not set would."""
    told = steplogd(command, "--dry-run", f"--for={name}")

    assert (told.returncode, told.stdout) == (1, "")
    assert f"{name!r} cannot be in the name of a unit" in told.stderr


@only_root
def test_a_users_unit_comes_with_all_its_files(kind: kinds.Kind) -> None:
    """The slice that it names among them."""
    texts = preparing.texts_of_user(kind, "root")

    assert tuple(texts) == kind.written
    assert all(text.startswith(MARK) for text in texts.values())


@pytest.mark.parametrize(
    ("words", "says"),
    [
        (["--for", "nobody-here"], "there is no user 'nobody-here'"),
        (["--for", "a b"], "cannot be in the name of a unit"),
        (["--for", "root", "--config", "x"], "each user has ~/.config/steplog for his own"),
    ],
)
@pytest.mark.usefixtures("home")
def test_users_who_cannot_be_served_are_one_sentence(words: list[str], says: str) -> None:
    """That names them."""
    told = steplogd("install", "--dry-run", *words)

    assert told.returncode == 1
    assert says in told.stderr
    assert told.stderr.count("\n") == 1
