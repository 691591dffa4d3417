"""What root does for a user's own daemon: his configuration is checked by himself, kept apart."""

from __future__ import annotations

import os
import sys

import pytest

from steplogd.config import ConfigError
from steplogd.installation import kinds, preparing
from steplogd.installation.planning import InstallError
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
