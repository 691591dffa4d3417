"""Installing after a run that stopped halfway: it goes by the daemons, not by what it writes."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

import pytest

from steplogd.commands import install
from steplogd.installation import carrying_out, kinds
from steplogd.installation.carrying_out import carry_out, look
from steplogd.installation.planning import Call, Found, InstallError, Write, plan_install
from steplogd.installation.units import marked

if TYPE_CHECKING:
    from pathlib import Path

    from steplogd.installation.planning import Step

OLD, NEW = marked("[Unit]\n", "1"), marked("[Unit]\n", "2")
ALICES = kinds.of_user("alice")
ALICE, BOB, CAROL = (f"steplogd@{user}.service" for user in ("alice", "bob", "carol"))
TEXTS = dict.fromkeys(ALICES.written, NEW)
SYSTEMCTL = """#!/bin/sh
case "$*" in
    *ExecMainStartTimestamp*) [ "$TZ" = UTC ] && echo "Thu 2026-01-01 00:00:10 UTC" ;;
    *NeedDaemonReload*) echo yes ;;
esac
"""
STARTED = 1767225610


def commands(steps: list[Step]) -> list[str]:
    return [" ".join(step.words[1:]) for step in steps if isinstance(step, Call)]


def test_daemons_that_are_older_than_their_files_are_started_anew() -> None:
    """All files are written, and nothing else was done; who has a new one already is left alone."""
    found = Found(
        TEXTS,
        "active",
        is_enabled=True,
        others=(BOB, CAROL),
        outdated=frozenset({ALICE, CAROL}),
        is_reload_needed=True,
    )

    assert commands(plan_install(ALICES, TEXTS, "", found)) == [
        "daemon-reload",
        f"try-restart {CAROL}",
        f"restart {ALICE}",
    ]


@pytest.mark.parametrize("state", ["activating", "reloading", "deactivating"])
def test_a_process_on_its_way_is_not_joined_where_its_files_are_old(state: str) -> None:
    """As `start` would do."""
    old = Found(dict.fromkeys(ALICES.written, OLD), state, is_enabled=True)
    halfway = Found(TEXTS, state, is_enabled=True, outdated=frozenset({ALICE}))

    for found in (old, halfway):
        assert commands(plan_install(ALICES, TEXTS, "", found))[-1] == f"restart {ALICE}"


def test_one_neighbour_whose_daemon_fails_holds_up_no_other(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """What failed is said then and at the end."""
    done = tmp_path / "done"
    steps: list[Step] = [
        Call(("sh", "-c", "echo bob is broken >&2; exit 1"), is_apart=True),
        Call(("touch", str(done))),
    ]

    (failure,) = install._carry_out_all(ALICES, steps)

    assert done.exists()
    assert failure.endswith("failed: bob is broken")
    assert f"  {failure}\n" in capsys.readouterr().out
    with pytest.raises(InstallError):
        install._carry_out_all(ALICES, [Call(("false",))])


@pytest.mark.parametrize(
    ("written", "outdated"), [(STARTED + 1, {"steplogd.service"}), (STARTED + 0.5, set())]
)
def test_a_daemon_is_outdated_once_a_file_of_its_is_newer(
    written: float, outdated: set[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Whatever the zone of this machine; systemd tells whole seconds."""
    systemctl = tmp_path / "systemctl"
    systemctl.write_text(SYSTEMCTL)
    systemctl.chmod(0o755)
    monkeypatch.setenv("PATH", f"{tmp_path}:{os.environ['PATH']}")
    monkeypatch.setenv("TZ", "Asia/Tokyo")
    kind = kinds.own(tmp_path)
    carry_out(Write(kind.path, NEW))
    os.utime(kind.path, (written, written))

    found = look(kind)

    assert found.outdated == outdated
    assert found.is_reload_needed


def test_what_was_never_started_is_not_outdated(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Nor where no systemd answers."""
    kind = kinds.own(tmp_path)
    carry_out(Write(kind.path, NEW))
    for answer in ("", "n/a"):
        monkeypatch.setattr(carrying_out, "_output", lambda _, answer=answer: answer)

        assert look(kind).outdated == frozenset()
