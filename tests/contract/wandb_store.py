"""W&B's files, read back with W&B's own reader, `wandb leet inspect`."""

from __future__ import annotations

import contextlib
import importlib.util
import json
import subprocess
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Any

from steplog.values import map_from_json
from steplogd.delivery.wandb import WandbBackend, WandbOptions
from steplogd.delivery.wandb_names import STEP_COLUMN, WHOLE_PREFIX
from tests.contract.trackers import Arrived, as_text, comparable
from tests.contract.wandb_originals import original_name

if TYPE_CHECKING:
    from collections.abc import Iterator

NONFINITE = {name: float(name) for name in ("NaN", "Infinity", "-Infinity")}
"""What the reader prints as text; in the file they stand as numbers."""


@cache
def core_path() -> str:
    """Return where W&B's own program lies; W&B is not imported for it, as nowhere in the daemon."""
    package = importlib.util.find_spec("wandb")
    assert package is not None
    assert package.origin is not None
    return str(Path(package.origin).with_name("bin") / "wandb-core")


class WandbStore:
    """W&B without a network: each run in folders of its own.

    The first backend of a test has the process of the test before: starting one takes a second. The
    second is what a restarted daemon would have, and the process of the first is gone by then.
    """

    def __init__(self, home: Path) -> None:
        self._home = home
        self._backends = [self._connect()]
        self._is_fresh = True

    @contextlib.contextmanager
    def used(self) -> Iterator[WandbStore]:
        """Let one test use it."""
        self._is_fresh = True
        if self._backends[-1].child.is_closed:  # by the test before: nobody can use it any more
            self._backends.append(self._connect())
        yield self
        for backend in self._backends[:-1]:
            backend.close()
        del self._backends[:-1]

    def close(self) -> None:
        """End the last process."""
        self._backends[-1].close()

    def backend(self) -> WandbBackend:
        """Connect anew, as after a restart."""
        if not self._is_fresh:
            self.close()
            self._backends.append(self._connect())
        self._is_fresh = False
        return self._backends[-1]

    def _connect(self) -> WandbBackend:
        return WandbBackend(WandbOptions(mode="offline"), self._home)

    def logs(self, run_id: str) -> list[Path]:
        """Return the files of a run, in their order."""
        return sorted(
            (self._home / "wandb" / "wandb").glob(f"offline-run-*/run-{run_id}.wandb"),
            key=lambda path: str(inspect(path, "run")[0]["start_time"]),
        )

    def rows(self, run_id: str) -> list[dict[str, Any]]:
        """Return the rows of a run's history, as they stand in its files."""
        return [row["item"] for path in self.logs(run_id) for row in inspect(path, "history")]

    def positions(self, run_id: str) -> list[int]:
        """Return the positions in the run log of a run's rows, as they stand in its files."""
        return [row["_step"] for row in self.rows(run_id)]

    def read(self, run_id: str) -> Arrived:
        """Return what arrived of a run."""
        logs = self.logs(run_id)
        runs = {record["project"] for path in logs for record in inspect(path, "run")}
        arrived = Arrived(runs=len(runs))
        for row in self.rows(run_id):
            _add_row(arrived, row)
        for path in logs:
            _add_state(arrived, path)
        return arrived


def inspect(path: Path, kind: str = "") -> list[dict[str, Any]]:
    """Return the records of a file, of one kind, or all of them with their kinds."""
    command = [core_path(), "leet", "inspect", "--no-observability", "--json"]
    done = subprocess.run(
        [*command, "--run-file", str(path), str(path.parent)],
        capture_output=True,
        text=True,
        check=True,
        timeout=60,
    )
    records = [json.loads(line) for line in done.stdout.splitlines()]
    return [each[kind] for each in records if each["type"] == kind] if kind else records


def _add_row(arrived: Arrived, row: dict[str, Any]) -> None:
    for name, cell in row.items():
        if name.startswith(("_", WHOLE_PREFIX)) or name == STEP_COLUMN:
            continue
        place = original_name(name), row[STEP_COLUMN]
        cell = NONFINITE.get(cell, cell) if isinstance(cell, str) else cell
        if type(cell) in (int, float):
            seen = round(row["_timestamp"] * 1e6) // 1000, comparable(cell)
            arrived.numbers.setdefault(place, []).append(seen)
        else:
            arrived.others[place] = as_text(_whole(row, name, cell))


def _add_state(arrived: Arrived, path: Path) -> None:
    config: dict[str, Any] = {}
    summary: dict[str, Any] = {}
    for record in inspect(path):
        kind = record["type"]
        config |= record[kind].get("config", {}).get("update", {}) if kind == "run" else {}
        config |= record[kind]["update"] if kind == "config" else {}
        summary |= record[kind]["update"] if kind == "summary" else {}
    for name, value in config.items():
        if not name.startswith(("_", "steplog.")):
            arrived.parameters[original_name(name)] = as_text(value)
    arrived.status = summary["steplog.status"]
    arrived.start_ms = summary.get("steplog.start_ts", 0) // 1000
    end_ts = summary.get("steplog.end_ts")
    arrived.end_ms = end_ts and end_ts // 1000


def _whole(row: dict[str, Any], name: str, cell: Any) -> Any:
    beside = row.get(WHOLE_PREFIX + name)
    return map_from_json(beside)["value"] if beside else cell
