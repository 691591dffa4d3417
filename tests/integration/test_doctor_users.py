"""What `steplogd doctor` says of backends to a user who may not see what the daemon may."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

import pytest

from tests.doctor import Report, read
from tests.people import ALICE, DAEMON, Person, command_line, open_home

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from steplogd.doctor.finding import Finding
    from tests.contract.trackers import MlflowStore


@pytest.fixture
def home() -> Iterator[Path]:
    """Give the daemon's user a home that several share, with no backend yet."""
    with open_home() as path:
        yield path


@pytest.fixture
def secret(home: Path) -> Path:
    """Lay a token down for root alone."""
    folder = home.parent.parent / "closed"
    folder.mkdir()
    (folder / "token").write_text("secret-token\n")
    (folder / "token").chmod(0o600)
    return folder / "token"


def have(home: Path, backend: str) -> None:
    """Make the home, and configure a backend for it."""
    drained = DAEMON.calls(home, *command_line(home, "drain"))
    assert (drained.returncode, drained.stderr) == (0, "")
    with (home.parent.parent / "steplogd.toml").open("a") as config:
        config.write(f"[[backend]]\n{backend}")


def examined_by(person: Person, home: Path) -> tuple[Report, Finding]:
    """Run it as somebody; all that it found, and what of the backend last."""
    told = person.calls(home, *command_line(home, "doctor", "--json"))
    assert told.stderr == ""
    report = read(told.returncode, told.stdout)
    return report, [one for one in report.findings if one.check == "backend"][-1]


@pytest.mark.parametrize(("kind", "mode"), [("mlflow", 0o700), ("mlflow", 0o755), ("wandb", 0o700)])
def test_secret_of_the_daemon_is_skipped_for_others(
    home: Path, secret: Path, mlflow_server: MlflowStore, kind: str, mode: int
) -> None:
    """They see why, and nothing counts as wrong; to the daemon's user it does."""
    secret.parent.chmod(mode)
    tables = {
        "mlflow": f'server_url = "{mlflow_server.url}"\ntoken_file = "{secret}"\n',
        "wandb": f'base_url = "{mlflow_server.url}"\nkey_file = "{secret}"\n',
    }
    have(home, f'type = "{kind}"\n{tables[kind]}')

    report, found = examined_by(ALICE, home)
    own_report, own = examined_by(DAEMON, home)

    assert (report.status, found.state) == (0, "skipped")
    assert f"{secret} is not for this user to see; run this as the home's owner" in found.text
    assert (own_report.status, own.state) == (1, "wrong")
    assert f"{secret} is closed to this user, whom the daemon runs as" in own.text
    assert own.mend.endswith(f"namei -l {secret}")


def test_embedded_mlflow_of_the_daemon_is_skipped_for_others(home: Path) -> None:
    """It is the daemon's alone to write; its user is told when he cannot."""
    have(home, 'type = "mlflow"\n')
    database = home / "mlflow.db"
    database.write_bytes(b"x")
    database.chmod(0o600)
    os.chown(database, DAEMON.uid, DAEMON.uid)

    report, found = examined_by(ALICE, home)
    os.chown(database, 0, 0)
    own_report, own = examined_by(DAEMON, home)

    assert (report.status, found.state) == (0, "skipped")
    assert f"{database} is not for this user to see" in found.text
    assert (own_report.status, own.state) == (1, "wrong")
    assert f"{database} is closed to this user" in own.text
