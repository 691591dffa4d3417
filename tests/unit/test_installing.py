"""What installing and uninstalling comes to, from what was found; and what the commands say."""

from __future__ import annotations

import dataclasses
import os
import pwd
from pathlib import Path

import pytest

from steplogd.config import ConfigError
from steplogd.installation import carrying_out, kinds, preparing
from steplogd.installation.carrying_out import carry_out, look, refuse_where_impossible
from steplogd.installation.planning import (
    Call,
    Found,
    InstallError,
    Remove,
    Write,
    plan_install,
    plan_uninstall,
)
from steplogd.installation.units import MARK, marked
from tests.daemon import steplogd

OURS = marked("[Unit]\n", "1")
SHARED = kinds.shared()
SHARED_TEXTS = dict.fromkeys(SHARED.written, OURS)
CONFIG = kinds.SHARED_CONFIG
ALICES = kinds.of_user("alice")


@pytest.fixture
def person(home: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Be somebody with an empty home directory of his own, where no service manager answers."""
    for name in ("STEPLOG_HOME", "XDG_STATE_HOME", "XDG_CONFIG_HOME", "DBUS_SESSION_BUS_ADDRESS"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("XDG_RUNTIME_DIR", str(tmp_path / "nobody"))
    monkeypatch.setenv("HOME", str(tmp_path / "me"))
    assert home
    return tmp_path / "me"


def commands(steps: list[Write | Remove | Call]) -> list[str]:
    return [" ".join(step.words) for step in steps if isinstance(step, Call)]


def test_the_first_installation_writes_enables_and_starts(tmp_path: Path) -> None:
    """In this order, and nothing else."""
    kind = kinds.own(tmp_path)

    steps = plan_install(kind, {kind.path: OURS}, "", Found({}))

    assert steps == [
        Write(kind.path, OURS),
        Call(("systemctl", "--user", "daemon-reload")),
        Call(("systemctl", "--user", "enable", "steplogd.service")),
        Call(("systemctl", "--user", "start", "steplogd.service")),
    ]


def test_the_shared_daemon_gets_a_user_and_folders_before_it_starts() -> None:
    """And a configuration, as there is none."""
    steps = plan_install(SHARED, SHARED_TEXTS, "shared = true", Found({}))

    assert steps[0] == Write(CONFIG, "shared = true")
    assert commands(steps) == [
        "systemd-sysusers /etc/sysusers.d/steplog.conf",
        "systemd-tmpfiles --create /etc/tmpfiles.d/steplog.conf",
        "systemctl daemon-reload",
        "systemctl enable steplogd.service",
        "systemctl start steplogd.service",
    ]


def test_what_is_as_it_should_be_is_left(tmp_path: Path) -> None:
    """A second installation does nothing."""
    kind = kinds.own(tmp_path)
    found = Found({kind.path: OURS}, state="active", is_enabled=True)

    assert plan_install(kind, {kind.path: OURS}, "", found) == []


def test_a_configuration_is_never_written_over() -> None:
    """It is the administrator's."""
    found = Found({**SHARED_TEXTS, CONFIG: "mine"}, state="active", is_enabled=True)

    steps = plan_install(SHARED, SHARED_TEXTS, "shared = true", found)

    assert [step for step in steps if isinstance(step, Write)] == []


def test_no_configuration_is_written_beside_another_one() -> None:
    """Else `steplogd check` would look at one that no daemon runs with."""
    steps = plan_install(SHARED, SHARED_TEXTS, "", Found({}))

    assert CONFIG not in [step.path for step in steps if isinstance(step, Write)]


def test_a_changed_unit_restarts_the_daemon() -> None:
    """After an upgrade, say; also those of other users that it is for."""
    found = Found({ALICES.path: OURS}, "active", is_enabled=True, others=("steplogd@bob.service",))

    steps = plan_install(ALICES, {ALICES.path: marked("[Unit]\n", "2")}, "", found)

    assert commands(steps) == [
        "systemctl daemon-reload",
        "systemctl try-restart steplogd@bob.service",
        "systemctl restart steplogd@alice.service",
    ]


@pytest.mark.parametrize("state", ["inactive", "failed", "activating", "unknown"])
def test_a_daemon_that_does_not_serve_is_started(tmp_path: Path, state: str) -> None:
    """Whatever it does instead."""
    kind = kinds.own(tmp_path)
    found = Found({kind.path: OURS}, state, is_enabled=True)

    steps = plan_install(kind, {kind.path: OURS}, "", found)

    assert commands(steps) == ["systemctl --user start steplogd.service"]


def test_what_somebody_else_wrote_is_in_the_way(tmp_path: Path) -> None:
    """Neither is it written over, nor removed."""
    kind = kinds.own(tmp_path)
    found = Found({kind.path: "[Unit]\n"}, "active", is_enabled=True)

    with pytest.raises(InstallError, match=f"{kind.path} was not written by"):
        plan_install(kind, {kind.path: OURS}, "", found)
    with pytest.raises(InstallError, match=f"{kind.path} was not written by"):
        plan_uninstall(kind, found)


def test_uninstalling_ends_the_service_before_its_files_go() -> None:
    """Configuration, user and home stay."""
    found = Found({**SHARED_TEXTS, CONFIG: "mine"}, "active", is_enabled=True)

    steps = plan_uninstall(SHARED, found)

    assert commands(steps) == [
        "systemctl disable --now steplogd.service",
        "systemctl daemon-reload",
    ]
    assert steps[1:5] == [Remove(path) for path in SHARED.written]


def test_uninstalling_twice_does_nothing() -> None:
    """And a distribution's own service of that name is not ended."""
    assert plan_uninstall(SHARED, Found({}, "active", is_enabled=True)) == []


def test_a_unit_stays_as_long_as_another_user_has_it() -> None:
    """The last one takes it away."""
    found = Found({ALICES.path: OURS}, "active", is_enabled=True, others=("steplogd@bob.service",))

    steps = plan_uninstall(ALICES, found)

    assert steps == [Call(("systemctl", "disable", "--now", "steplogd@alice.service"))]


@pytest.mark.parametrize("kind", [SHARED, ALICES])
def test_the_slice_stays_as_long_as_another_unit_lies_in_it(kind: kinds.Kind) -> None:
    """Else the other's daemons would weigh as much as a training after the next boot."""
    texts = dict.fromkeys(kind.written, OURS)
    assert kind.slice_with is not None

    alone = plan_uninstall(kind, Found(texts))
    beside = plan_uninstall(kind, Found({**texts, kind.slice_with: OURS}))

    removed = [step.path.name for step in alone if isinstance(step, Remove)]
    left = [step.path.name for step in beside if isinstance(step, Remove)]
    assert set(removed) - set(left) == {"steplog.slice"}


def test_a_changed_slice_is_read_again() -> None:
    """Though no service's file is another."""
    texts = dict.fromkeys(ALICES.written, OURS)
    (path,) = ALICES.files

    steps = plan_install(ALICES, texts, "", Found({**texts, path: marked("", "0")}, "active"))

    assert "systemctl daemon-reload" in commands(steps)


def test_a_file_is_written_whole_for_all_to_read(tmp_path: Path) -> None:
    """With its folder, and nothing beside it."""
    path = tmp_path / "new" / "steplogd.service"
    before = os.umask(0o077)

    carry_out(Write(path, "text"))
    carry_out(Write(path, "other"))
    os.umask(before)

    assert path.read_text() == "other"
    assert path.stat().st_mode & 0o777 == 0o644
    assert list(path.parent.iterdir()) == [path]


def test_a_command_that_fails_is_said_in_its_own_words() -> None:
    """On one line."""
    with pytest.raises(InstallError) as caught:
        carry_out(Call(("sh", "-c", "echo one >&2; echo two >&2; exit 3")))
    with pytest.raises(InstallError, match="there is no steplog-nothing on this machine"):
        carry_out(Call(("steplog-nothing",)))

    assert str(caught.value).endswith("failed: one two")


@pytest.mark.usefixtures("person")
def test_a_machine_without_systemd_is_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """And told what to do instead."""
    monkeypatch.setattr(carrying_out, "_BOOTED", tmp_path / "nothing")

    with pytest.raises(InstallError, match="run `steplogd run`"):
        refuse_where_impossible(kinds.own(tmp_path))


@pytest.mark.usefixtures("person")
def test_who_has_no_service_manager_is_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """By `su`, say."""
    monkeypatch.setattr(carrying_out, "_BOOTED", tmp_path)
    monkeypatch.setenv("XDG_RUNTIME_DIR", str(tmp_path))

    with pytest.raises(InstallError, match="log in as the user himself"):
        refuse_where_impossible(kinds.own(tmp_path))


def test_only_root_may_change_the_machine(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Others are told of --user."""
    monkeypatch.setattr(carrying_out, "_BOOTED", tmp_path)
    monkeypatch.setattr(os, "geteuid", lambda: 1000)

    with pytest.raises(InstallError, match="take --user"):
        refuse_where_impossible(SHARED)


@pytest.mark.usefixtures("person")
def test_a_persons_unit_names_what_his_shell_does(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As services do not see what a shell exports."""
    config = tmp_path / "c.toml"
    config.touch()
    kind = kinds.own(tmp_path)
    plain = preparing.own_texts(kind, None)
    monkeypatch.setenv("STEPLOG_HOME", str(tmp_path / "elsewhere"))
    monkeypatch.setenv("STEPLOG_CONFIG", str(config))
    named = preparing.own_texts(kind, None)

    program = " ".join(preparing.program())
    assert f"\nExecStart={program} run\n" in plain[kind.path]
    assert "STEPLOG_HOME" not in plain[kind.path]
    assert f"\nExecStart={program} run --config {config}\n" in named[kind.path]
    assert f"\nEnvironment=STEPLOG_HOME={tmp_path}/elsewhere\n" in named[kind.path]


@pytest.mark.usefixtures("person")
def test_who_has_the_shared_daemon_needs_none_of_his_own(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """He is told how to reach it, and how to have another all the same."""
    config = tmp_path / "shared.toml"
    config.write_text('home = "/var/lib/steplog"\nshared = true\n')
    monkeypatch.setattr(preparing, "SHARED_CONFIG", config)

    with pytest.raises(InstallError, match="set STEPLOG_HOME=/var/lib/steplog for your tasks"):
        preparing.own_texts(kinds.own(tmp_path), str(config))


def test_a_home_of_the_shared_daemon_is_made_and_opened_wherever_it_is(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """By its folders' file, and by its unit."""
    monkeypatch.setattr(preparing, "_refuse_hidden", lambda *_: None)
    monkeypatch.setenv("STEPLOG_HOME", "/nonexistent")
    config = tmp_path / "c.toml"
    config.write_text('home = "/data/steplog"\nshared = true')

    texts = preparing.shared_texts(SHARED, str(config))
    usual = preparing.shared_texts(SHARED, None)

    unit, _, folders, _ = (texts[path] for path in SHARED.written)
    assert "\nReadWritePaths=/data/steplog\n" in unit
    assert f" run --config {config}\n" in unit
    assert "\nd /data/steplog/spool     3733 steplog steplog\n" in folders
    assert usual[SHARED.path].count("ReadWritePaths=") == 1


@pytest.mark.usefixtures("person")
def test_a_configuration_that_the_shared_daemon_cannot_see_is_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """In somebody's home directory, say, or below /tmp, of which it has its own."""
    monkeypatch.setattr(preparing, "_places", list)
    config = tmp_path / "c.toml"
    config.touch()
    kind = dataclasses.replace(SHARED, hides=(tmp_path,))

    with pytest.raises(InstallError, match=f"{config} lies in {tmp_path}.*take another place"):
        preparing.shared_texts(kind, str(config))


@pytest.mark.parametrize("place", ["/home/alice/venv", "/tmp/venv", "/root/x"])
def test_what_the_unit_hides_is_refused(place: str) -> None:
    """Before the daemon cannot find its own program."""
    with pytest.raises(InstallError, match=r"cannot see; install it where all can use it"):
        preparing._refuse_hidden(SHARED, [Path(place)])


def test_what_others_cannot_reach_is_refused(tmp_path: Path) -> None:
    """It is root who installs, and somebody else who runs."""
    (tmp_path / "closed").mkdir(mode=0o700)

    with pytest.raises(InstallError, match="cannot go through"):
        preparing._refuse_hidden(kinds.own(tmp_path), [tmp_path / "closed" / "venv"])


@pytest.mark.usefixtures("person")
def test_a_wrong_configuration_is_refused_before_anything_is_done(tmp_path: Path) -> None:
    """With 78, also by --dry-run."""
    config = tmp_path / "c.toml"
    config.write_text("grace_second = 1")

    told = steplogd("install", "--user", "--dry-run", "--config", str(config))

    assert (told.returncode, told.stdout) == (78, "")
    assert "no key 'grace_second'" in told.stderr
    with pytest.raises(ConfigError):
        preparing.shared_texts(SHARED, str(config))


@pytest.mark.usefixtures("person")
def test_a_persons_unit_lies_where_his_manager_looks(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Whatever his shell exports; and where managers usually look, if none answers."""
    systemctl = tmp_path / "bin/systemctl"
    systemctl.parent.mkdir()
    systemctl.write_text('#!/bin/sh\n[ "$5" = UnitPath ] && cat "$SEARCHED"\n')
    systemctl.chmod(0o755)
    monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path / "shell's"))
    without = carrying_out.config_home()
    monkeypatch.setenv("PATH", f"{systemctl.parent}:{os.environ['PATH']}")
    monkeypatch.setenv("SEARCHED", str(tmp_path / "searched"))
    (tmp_path / "searched").write_text(
        "/a b/.config/systemd/user.control /run/user/0/systemd/user.control /etc/systemd/user\n"
    )

    assert carrying_out.config_home() == Path("/a b/.config")
    assert without == Path("~/.config").expanduser()


def test_a_dry_run_says_all_and_does_nothing(person: Path) -> None:
    """Whether or not there is a systemd."""
    told = steplogd("install", "--user", "--dry-run")
    gone = steplogd("uninstall", "--user", "--dry-run")

    unit = person / ".config/systemd/user/steplogd.service"
    assert told.returncode == 0
    assert told.stdout.splitlines()[0] == f"would write {unit}"
    assert told.stdout.splitlines()[-1] == "would run systemctl --user start steplogd.service"
    assert gone.stdout == "would do nothing: all is as it should be\n"
    assert not person.exists()


def test_a_person_may_keep_it_while_logged_out(person: Path) -> None:
    """By an option, as it is for all that he runs."""
    told = steplogd("install", "--user", "--linger", "--dry-run")

    me = pwd.getpwuid(os.geteuid()).pw_name
    if not Path("/var/lib/systemd/linger", me).exists():
        assert told.stdout.splitlines()[-1] == f"would run loginctl enable-linger {me}"
    assert not person.exists()


def test_it_finds_what_it_wrote(person: Path) -> None:
    """And so knows what to remove."""
    kind = kinds.own(person / ".config")
    carry_out(Write(kind.path, OURS))

    told = steplogd("uninstall", "--user", "--dry-run")

    assert look(kind).texts == {kind.path: OURS}
    assert told.stdout.splitlines()[0] == f"would remove {kind.path}"
    assert kind.path.read_text().startswith(MARK)
