"""`steplog import` through real processes: what the original wrote is folded, shown and sent on."""

from __future__ import annotations

import json
import os
import re
import signal
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from tests.commands import STEPLOG
from tests.conftest import DEADLINE_SECONDS, spools, wait_until
from tests.daemon import configure, document, rows, serving, steplogd

HERE = Path(__file__).parent
SAMPLES = HERE / "samples"
SEED = sorted((SAMPLES / "seed").glob("*.json"))


def steplog(*arguments: str) -> subprocess.CompletedProcess[str]:
    """Run `steplog` to its end."""
    return subprocess.run(
        [*STEPLOG, *arguments],
        capture_output=True,
        text=True,
        timeout=DEADLINE_SECONDS,
        check=False,
    )


def drain(home: Path, text: str = "") -> None:
    """Fold and send all that is there."""
    home.mkdir(exist_ok=True)
    done = steplogd("drain", "--config", configure(home, text))
    assert (done.returncode, done.stderr) == (0, "")


def sample(*names: str) -> dict[str, Any]:
    """Return a run log as the original wrote it."""
    found: dict[str, Any] = json.loads(SAMPLES.joinpath(*names).read_text("utf-8"), strict=False)
    return found


@pytest.mark.parametrize("path", SEED, ids=lambda path: path.stem)
def test_the_documents_of_the_seed_come_back_as_they_were(path: Path, home: Path) -> None:
    """Character for character, but for line breaks that stand raw within a text."""
    written = path.read_text("utf-8")
    description = re.compile(r'"description": "[^"]*"')
    expected = description.sub(lambda found: found[0].replace("\n", "\\n"), written)

    imported = steplog("import", str(path))
    drain(home)

    assert (0, "imported 1, skipped 0\n") == (imported.returncode, imported.stdout)
    assert expected == steplog("show", path.stem, "--json").stdout
    assert json.loads(written, strict=False) == document(home, path.stem)


def test_every_run_log_of_the_original_is_a_run_then(home: Path) -> None:
    """Of files and of folders in pieces, old and new, each listed by when it started."""
    imported = steplog("import", "--json", str(SAMPLES))
    drain(home)

    runs = json.loads(steplog("ls", "--json").stdout)
    started = [run["start_time"] for run in runs]
    ended = {run["run_id"]: run["status"] for run in runs}
    assert 0 == imported.returncode
    assert sorted(json.loads(imported.stdout)["imported"]) == spools(home) == sorted(ended)
    assert sorted(started, reverse=True) == started
    assert {
        "magnus-again": "SUCCESS",
        "magnus-failing-file-system": "FAIL",
        "magnus-map-chunked-fs": "SUCCESS",
        "magnus-map-file-system": "SUCCESS",
        "magnus-pipe-chunked-fs": "SUCCESS",
        "magnus-pipe-file-system": "SUCCESS",
        "runnable-failing-file-system": "FAIL",
        "runnable-job-file-system": "SUCCESS",
        "runnable-pipe-chunked-fs": "SUCCESS",
        "runnable-pipe-file-system": "SUCCESS",
        **{path.stem: "SUCCESS" for path in SEED},
    } == ended


def test_a_run_whose_steps_were_skipped_comes_back_as_it_was(home: Path) -> None:
    """They are mocked, without attempts; and the run says which one it goes on from."""
    steplog("import", str(SAMPLES / "magnus" / "file-system" / "magnus-again.json"))
    drain(home)

    assert sample("magnus", "file-system", "magnus-again.json") == document(home, "magnus-again")


def test_steps_in_branches_come_back_under_their_internal_names(home: Path) -> None:
    """Each as it was; its branch is told by the name."""
    original = sample("magnus", "file-system", "magnus-pipe-file-system.json")
    steplog("import", str(SAMPLES / "magnus" / "file-system"))
    drain(home)

    both = document(home, "magnus-pipe-file-system")["steps"]["both"]
    branches = original["steps"]["both"]["branches"].values()
    assert {n: step for branch in branches for n, step in branch["steps"].items()} == both[
        "branches"
    ]
    assert ("parallel", "SUCCESS", 1) == (both["step_type"], both["status"], len(both["attempts"]))


@pytest.mark.parametrize("run", ["magnus-pipe", "magnus-map", "runnable-pipe"])
def test_a_folder_of_pieces_gives_the_run_that_a_file_gives(run: str, home: Path) -> None:
    """One pipeline, run with both stores of the original: times, names and hashes alone differ."""
    folder = SAMPLES / run.partition("-")[0]
    steplog("import", str(folder))
    drain(home)

    def told(store: str) -> Any:
        shown = json.dumps(document(home, f"{run}-{store}")["steps"])
        shown = re.sub(r'"(start_time|end_time|duration|data_hash)": "[^"]*"', r'"\1": ""', shown)
        return json.loads(shown.replace(store, "STORE"))

    assert told("file-system") == told("chunked-fs")


def test_what_newer_versions_keep_with_the_attempt_is_there(home: Path) -> None:
    """Parameters and metrics lose their kinds; a job is a task."""
    steplog("import", str(SAMPLES / "runnable" / "file-system"))
    drain(home)

    train = document(home, "runnable-pipe-file-system")["steps"]["train"]
    job = document(home, "runnable-job-file-system")
    assert {"loss": 0.25} == train["user_defined_metrics"]
    assert {"lr": 0.1} == train["attempts"][0]["parameters"]
    assert ["job", "success"] == list(job["steps"])
    assert {"size": 5, "loss": 0.25} == job["parameters"]


def test_a_run_that_was_killed_is_one_that_was_killed(tmp_path: Path, home: Path) -> None:
    """The original leaves it at PROCESSING for ever."""
    killed = sample("seed", "blazing-colden-0544.json")
    attempt = killed["steps"]["shell"]["attempts"][0]
    killed["steps"].pop("success")
    killed["status"] = killed["steps"]["shell"]["status"] = attempt["status"] = "PROCESSING"
    attempt["end_time"] = ""
    (tmp_path / "killed.json").write_text(json.dumps(killed))

    steplog("import", str(tmp_path / "killed.json"))
    drain(home)

    shown = document(home, "blazing-colden-0544")
    assert [("FAIL", 1, "2024-01-09 05:44:42.841295")] == rows(
        home, "SELECT status, killed, '2024-01-09 05:44:42.841295' FROM run WHERE end_ts = start_ts"
    )
    assert ["shell", "fail"] == list(shown["steps"])
    assert shown["steps"]["shell"]["attempts"][0]["message"].startswith("killed: ")


def test_an_imported_run_is_delivered_like_any_other(
    home: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """While a daemon serves the home, which needs no restart; each value once, at its step."""
    monkeypatch.setenv("PYTHONPATH", str(HERE / "third_party"), prepend=os.pathsep)
    backend = '[[backend]]\ntype = "file"\n'

    with serving(home, "--config", configure(home, backend)):
        steplog("import", str(SAMPLES / "magnus" / "file-system" / "magnus-pipe-file-system.json"))
        arrived = home / "arrived.jsonl"
        wait_until(lambda: arrived.exists() and b'"SUCCESS"' in arrived.read_bytes())

    lines = [json.loads(line) for line in arrived.read_text().splitlines()]
    accuracies = [(step, step / 4) for step in range(12)]
    sent = [(line["step"], line["value"]) for line in lines if "value" in line]
    assert [(0, 1.5), (0, 42), (0, {"ham": "world"}), *accuracies] == sent


IMPORT_AND_DIE = """
import os, signal
from steplog.cli import main

def die(*arguments, **named):
    os.kill(os.getpid(), signal.SIGKILL)

setattr(os, {moment!r}, die)
main(["import", {path!r}])
"""


@pytest.mark.parametrize("moment", ["fsync", "link"])
def test_a_kill_in_the_middle_leaves_nothing(moment: str, home: Path) -> None:
    """And the next import brings in the whole run."""
    path = str(SEED[0])
    program = IMPORT_AND_DIE.format(moment=moment, path=path)

    died = subprocess.run([sys.executable, "-c", program], check=False, timeout=DEADLINE_SECONDS)
    left = list((home / "spool").iterdir())
    again = steplog("import", path)

    assert (-signal.SIGKILL, []) == (died.returncode, left)
    assert (0, [SEED[0].stem]) == (again.returncode, spools(home))
