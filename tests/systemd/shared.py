"""The shared daemon of the machine, as these tests configure it, look at it and give it work."""

from __future__ import annotations

import json
import textwrap
from typing import TYPE_CHECKING, Any, Final

from tests.daemon import QUICK

if TYPE_CHECKING:
    from tests.systemd.box import Box

BIN: Final = "/opt/steplog/bin"
STEPLOGD: Final = f"{BIN}/steplogd"
PYTHON: Final = f"{BIN}/python"
UNIT: Final = "steplogd.service"
HOME: Final = "/var/lib/steplog"
CONFIG: Final = "/etc/steplog/steplogd.toml"
BARE: Final = f'home = "{HOME}"\nshared = true\n{QUICK}'
SERVER: Final = """
[[backend]]
type = "mlflow"
server_url = "http://localhost:5000"
token_file = "${CREDENTIALS_DIRECTORY}/mlflow-token"
"""
TRACK: Final = """
import sys, steplog
with steplog.start_run(sys.argv[1]), steplog.task("train"):
    for step in range(int(sys.argv[2])):
        steplog.track_this(step=step, loss=1 / (step + 1))
"""
_ASK: Final = """
    import time, urllib.request
    for _ in range(1000):
        try:
            urllib.request.urlopen("http://127.0.0.1:5000/health", timeout=10).read()
        except OSError:
            time.sleep(0.1)
        else:
            break
    else:
        raise SystemExit("it never answered")
"""


def tracks(box: Box, run_id: str, steps: int = 10, user: str = "alice") -> None:
    """Have a task of a user track so many steps of a run."""
    box.does(PYTHON, "-c", TRACK, run_id, str(steps), user=user, STEPLOG_HOME=HOME)


def as_daemon(box: Box, *words: str) -> str:
    """Run a command as the daemon's user, with what the daemon has of files and credentials."""
    credentials = f"/run/credentials/{UNIT}"
    return box.does(*words, user="steplog", STEPLOG_HOME=HOME, CREDENTIALS_DIRECTORY=credentials)


def drains(box: Box) -> None:
    """Wait until the daemon has folded and sent all that is there."""
    as_daemon(box, STEPLOGD, "drain", "--config", CONFIG)


def losses(box: Box, run_id: str) -> dict[str, float]:
    """Return what the run log has of a run's loss, by step."""
    shown = json.loads(as_daemon(box, f"{BIN}/steplog", "show", run_id, "--json"))
    metrics: dict[str, Any] = shown["steps"]["train"]["user_defined_metrics"]["loss"]
    return metrics


def configures(box: Box, text: str) -> None:
    """Configure the daemon; it is started again."""
    box.writes(CONFIG, text)
    box.does("systemctl", "restart", UNIT)


def pid(box: Box) -> str:
    """Return the process id of the daemon."""
    return box.shows(UNIT, "MainPID")


def is_served_anew(box: Box, before: str) -> None:
    """Wait until another process than before serves."""
    show = f"systemctl show {UNIT} --value --property"
    is_other = f'[ "$({show} MainPID)" != "$1" ]'
    box.waits(f'[ "$({show} ActiveState)" = active ] && {is_other}', before)


def starts_tracker(box: Box) -> None:
    """Start an MLflow server inside, which takes some seconds until it answers."""
    folder = "/var/lib/tracker"
    box.does("mkdir", "-p", folder)
    store = ("--backend-store-uri", f"sqlite:///{folder}/server.db")
    where = ("--host", "127.0.0.1", "--port", "5000", "--workers", "1")
    quiet = ("-E", "MLFLOW_DISABLE_TELEMETRY=1", "-E", "MLFLOW_SERVER_ENABLE_JOB_EXECUTION=false")
    unit = ("systemd-run", "--quiet", "--unit=tracker", f"--working-directory={folder}", *quiet)
    artifacts = ("--artifacts-destination", f"{folder}/artifacts")
    box.does(*unit, PYTHON, "-m", "mlflow", "server", *where, *store, *artifacts)


def waits_for_tracker(box: Box) -> None:
    """Wait until it answers."""
    box.does(PYTHON, "-c", textwrap.dedent(_ASK))
