"""`steplogd verify`, `replay` and `dead-letters`: what they print, and how they exit."""

from __future__ import annotations

import contextlib
import json
import os
import subprocess
import sys
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from steplogd.store.cursors import Cursors
from steplogd.store.database import Database
from tests.conftest import DEADLINE_SECONDS, wait_until
from tests.daemon import configure, rows, serving, steplogd
from tests.lines import Scribe, append, line

if TYPE_CHECKING:
    from collections.abc import Iterator

MEMORY = '[[backend]]\ntype = "memory"\n'
AWAY = '[[backend]]\ntype = "mlflow"\nserver_url = "http://127.0.0.1:9"\n'
COMMANDS = [["verify"], ["replay", "memory"], ["dead-letters"]]


@pytest.fixture
def memory(home: Path) -> str:
    """Configure a tracker that loses all it has at the end of each process."""
    return configure(home, MEMORY)


def drain(home: Path, config: str, *run_ids: str) -> None:
    """Have runs that are over folded and delivered, of two observations each."""
    for run_id in run_ids:
        a = Scribe()
        append(home, run_id, a.line("join"), a.track(0, loss=0.5), a.track(1, text="\x1b[31m"))
        append(home, run_id, a.line("leave"))
    assert steplogd("drain", "--config", config).returncode == 0


@contextlib.contextmanager
def cursors(home: Path) -> Iterator[Cursors]:
    """Open the cursors of a home."""
    with contextlib.closing(Database(home / "steplog.db")) as database:
        yield Cursors(database)


def refuse(home: Path, *positions: int, run_no: int = 1) -> None:
    """Have the tracker refuse some observations of a run, after the fact."""
    with cursors(home) as found:
        found.acknowledge("memory", run_no, 2, dict.fromkeys(positions, "no"))


@pytest.mark.parametrize("command", COMMANDS)
def test_help_shows_an_example(command: list[str]) -> None:
    """That can be typed as it stands."""
    shown = steplogd(command[0], "--help")

    assert shown.returncode == 0
    assert f"example: steplogd {command[0]}" in shown.stdout


@pytest.mark.parametrize("command", COMMANDS)
def test_a_wrong_configuration_is_one_sentence(home: Path, command: list[str]) -> None:
    """And exit status 78."""
    told = steplogd(*command, "--config", configure(home, "zzz = 1"))

    assert (told.returncode, told.stderr.count("\n")) == (78, 1)
    assert "there is no key 'zzz'" in told.stderr


@pytest.mark.parametrize("command", [["verify", "nope"], ["replay", "memory", "nope"]])
def test_an_unknown_run_is_one_sentence(home: Path, memory: str, command: list[str]) -> None:
    """That says where runs are listed."""
    drain(home, memory, "r")

    told = steplogd(*command, "--config", memory)

    assert (told.returncode, told.stderr.count("\n")) == (1, 1)
    assert told.stderr.startswith("steplogd: no run nope is in the run log; `steplog ls` lists")


@pytest.mark.parametrize(
    "command",
    [
        ["replay", "memry"],
        ["dead-letters", "--backend", "memry"],
        ["dead-letters", "retry", "--backend", "memry"],
    ],
)
def test_an_unknown_backend_is_one_sentence(home: Path, memory: str, command: list[str]) -> None:
    """That names the nearest known one."""
    told = steplogd(*command, "--config", memory)

    assert home
    assert told.returncode == 1
    assert told.stderr == "steplogd: There is no backend 'memry'; did you mean 'memory'?\n"


def test_without_a_backend_there_is_nothing_to_verify(home: Path) -> None:
    """Nor to replay to."""
    shown, told = steplogd("verify"), steplogd("replay", "mlflow")

    assert home
    assert (shown.returncode, shown.stdout) == (0, "no backend: the run log has it all\n")
    assert told.stderr.endswith("no backend 'mlflow'; the configuration has none at all\n")


def test_a_tracker_that_lost_all_is_told_run_by_run(home: Path, memory: str) -> None:
    """Not point by point; no more than fits a screen, all of it as JSON."""
    drain(home, memory, *[f"r{number}" for number in range(25)])

    shown = steplogd("verify", "--config", memory)
    told = json.loads(steplogd("verify", "--json", "--config", memory).stdout)
    one = steplogd("verify", "r7", "--config", memory)

    assert shown.returncode == one.returncode == 1
    assert len(shown.stdout.splitlines()) == 22
    assert shown.stdout.endswith("\n  and 5 more: --json has them all\n")
    assert (told["equal"], len(told["backends"][0]["differences"])) == (False, 25)
    assert one.stdout.splitlines() == [
        "memory: 1 difference, otherwise equal in 0 points of 0 runs",
        "  r7 r7 (the tracker has no such run: `steplogd replay` sends it again)",
    ]


def test_what_is_behind_is_told(home: Path) -> None:
    """With how much, and exit status 1; nobody is contacted for it."""
    append(home, "r", line("track", values={"x": 1}))
    steplogd("drain")

    told = steplogd("verify", "--config", configure(home, AWAY))

    assert told.returncode == 1
    assert told.stdout == (
        "mlflow: behind by 1 observation of 1 run, otherwise equal in 0 points of 0 runs\n"
    )


def test_a_tracker_that_cannot_be_read_back_is_told(
    home: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A third party's, which does not say what it holds."""
    third_party = Path(__file__).parents[1] / "integration" / "third_party"
    monkeypatch.setenv("PYTHONPATH", str(third_party), prepend=os.pathsep)
    config = configure(home, '[[backend]]\ntype = "file"\n')
    drain(home, config, "r")

    told = steplogd("verify", "--config", config)

    assert told.returncode == 1
    assert told.stdout.startswith("file: cannot be read: it cannot be read back")


def test_a_replay_sends_all_again(home: Path, memory: str) -> None:
    """One run, or all of them; the cursor stands where it stood."""
    drain(home, memory, "r", "s")

    one = steplogd("replay", "memory", "r", "--config", memory)
    both = steplogd("replay", "memory", "--config", memory)

    assert (one.returncode, one.stdout) == (0, "memory: 1 run sent again\n")
    assert (both.returncode, both.stdout) == (0, "memory: 2 runs sent again\n")
    assert sorted(rows(home, "SELECT position, replay FROM cursor")) == [(2, 1), (2, 2)]


def test_a_replay_may_be_left_to_the_next_drain(home: Path, memory: str) -> None:
    """Nothing is sent by the command itself; the status says what is owed."""
    drain(home, memory, "r")

    told = steplogd("replay", "memory", "--no-wait", "--config", memory)

    status = json.loads(steplogd("status", "--json", "--config", memory).stdout)
    assert (told.returncode, told.stdout) == (0, "memory: 1 run to be sent again\n")
    assert status["backends"][0]["observations"] == 2


def test_a_replay_is_done_by_the_daemon_that_serves_the_home(home: Path, memory: str) -> None:
    """Which notices by itself."""
    with serving(home, "--config", memory):
        drain(home, memory, "r")

        told = steplogd("replay", "memory", "--config", memory)

    assert (told.returncode, told.stdout) == (0, "memory: 1 run sent again\n")
    assert rows(home, "SELECT position, replay FROM cursor") == [(2, 1)]


def test_a_daemon_that_does_not_know_the_backend_is_told(home: Path, memory: str) -> None:
    """It was configured since: the command must not wait for ever."""
    with serving(home):
        append(home, "r", line("track", values={"x": 1}))
        wait_until(lambda: bool(rows(home, "SELECT 1 FROM run")))

        told = steplogd("replay", "memory", "--config", memory)

    assert (told.returncode, told.stderr.count("\n")) == (1, 1)
    assert "does not deliver to 'memory': start it again" in told.stderr
    assert "Traceback" not in told.stderr


def test_a_replay_that_is_not_through_in_time_says_what_is_left(home: Path) -> None:
    """And exits with 75."""
    append(home, "r", line("track", values={"x": 1}))
    steplogd("drain")

    told = steplogd("replay", "mlflow", "--timeout", "0.5", "--config", configure(home, AWAY))

    assert told.returncode == 75
    assert "mlflow is still behind by 1 observation of 1 run" in told.stderr


def test_dead_letters_are_listed(home: Path, memory: str) -> None:
    """What was tracked cannot do anything to a terminal; as JSON it is whole."""
    drain(home, memory, "r")
    none = steplogd("dead-letters", "--config", memory).stdout
    refuse(home, 1, 2)

    shown = steplogd("dead-letters", "--config", memory).stdout
    letters = json.loads(steplogd("dead-letters", "--json", "--config", memory).stdout)

    assert none == "no dead letters\n"
    assert [text.split()[:6] for text in shown.splitlines()] == [
        ["BACKEND", "RUN", "TASK", "KEY", "STEP", "VALUE"],
        ["memory", "r", "train", "loss", "0", "0.5"],
        ["memory", "r", "train", "text", "1", '"\\x1b[31m"'],
    ]
    assert [(letter["position"], letter["value"]) for letter in letters] == [
        (1, 0.5),
        (2, "\x1b[31m"),
    ]


def test_dead_letters_that_are_sent_once_more_and_taken_are_gone(home: Path, memory: str) -> None:
    """Those that were asked for, by whoever serves the home."""
    drain(home, memory, "r", "s")
    for run_no in (1, 2):
        refuse(home, 1, run_no=run_no)

    one = steplogd("dead-letters", "retry", "--run", "r", "--config", memory)
    with serving(home, "--config", memory):
        other = steplogd("dead-letters", "retry", "--config", memory)

    assert one.stdout == other.stdout == "1 dead letter sent once more: 1 taken, 0 refused\n"
    assert one.returncode == other.returncode == 0
    assert rows(home, "SELECT * FROM dead_letter") == []


def test_dead_letters_may_be_left_to_the_next_drain(home: Path, memory: str) -> None:
    """Which waits for them; until then they are owed."""
    drain(home, memory, "r")
    refuse(home, 1)

    told = steplogd("dead-letters", "retry", "--no-wait", "--config", memory)
    listed = steplogd("dead-letters", "--config", memory).stdout
    status = json.loads(steplogd("status", "--json", "--config", memory).stdout)
    drain(home, memory)

    assert told.stdout == "1 dead letter to be sent once more\n"
    assert "to be sent again" in listed
    assert status["backends"][0]["observations"] == status["backends"][0]["dead_letters"] == 1
    assert rows(home, "SELECT * FROM dead_letter") == []


def test_dead_letters_of_a_backend_that_is_gone_can_be_discarded(home: Path, memory: str) -> None:
    """They are listed, too; but nobody could take them."""
    drain(home, memory, "r")
    refuse(home, 1)

    listed = steplogd("dead-letters", "--backend", "memory").stdout
    retried = steplogd("dead-letters", "retry", "--backend", "memory")
    discarded = steplogd("dead-letters", "discard", "--backend", "memory").stdout

    assert listed.count("\n") == 2
    assert retried.returncode == 1
    assert discarded == "1 dead letter discarded\n"
    assert rows(home, "SELECT * FROM dead_letter") == []


def test_a_bar_is_drawn_on_a_terminal_alone(home: Path, memory: str) -> None:
    """A script gets nothing but the result."""
    drain(home, memory, "r")
    controller, terminal = os.openpty()
    command = [sys.executable, "-m", "steplogd", "verify", "--config", memory]

    shown = subprocess.run(
        command, stderr=terminal, stdout=subprocess.PIPE, timeout=DEADLINE_SECONDS, check=False
    )
    os.close(terminal)
    drawn = os.read(controller, 10_000)
    os.close(controller)

    assert b"read from memory" in drawn
    assert shown.stdout.startswith(b"memory: ")
    assert steplogd("verify", "--config", memory).stderr == ""
