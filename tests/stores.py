"""A store as the daemon would have left it, filled by hand."""

from __future__ import annotations

import json
import sqlite3
from pathlib import Path
from typing import Any, Final

import steplogd.store
from steplog import values
from steplog.run_log import read_run_log, write_run_log

_STORE: Final = Path(steplogd.store.__file__).parent
SCHEMA: Final = (_STORE / "schema.sql").read_text("utf-8")
ARCHIVE_SCHEMA: Final = (_STORE / "archive.sql").read_text("utf-8")
START: Final = 1704779082841295  # 2024-01-09 05:44:42.841295
END: Final = 1704779082849938


class Store:
    """The store of one home, and an open connection to it."""

    def __init__(self, home: Path) -> None:
        self.home = home
        self.connection = sqlite3.connect(home / "steplog.db", isolation_level=None)
        self.connection.execute("PRAGMA journal_mode = WAL")
        self.connection.executescript(f"BEGIN; {SCHEMA}; PRAGMA user_version = 3; COMMIT")
        self.positions: dict[int, int] = {}
        self.series: dict[tuple[int, int, int, Any], int] = {}

    def insert(self, table: str, **columns: Any) -> None:
        """Insert a row."""
        names, marks = ", ".join(columns), ", ".join("?" * len(columns))
        sql = f"INSERT INTO {table} ({names}) VALUES ({marks})"
        self.connection.execute(sql, list(columns.values()))

    def run(self, run_id: str = "r", run_no: int = 1, **columns: Any) -> None:
        """Insert a run, which has ended well unless told otherwise."""
        empty = dict.fromkeys(("position", "revision", "lost", "gaps", "repeated"), 0)
        usual = {"tag": "", "status": "SUCCESS", "killed": 0, "message": "", "start_ts": START}
        usual |= {"end_ts": END, "parameters": "{}", "config": "{}", "unknown": 0, "malformed": 0}
        self.insert("run", run_id=run_id, run_no=run_no, **(empty | usual | columns))

    def task(self, *path: str, task_no: int = 0, status: str = "SUCCESS", run_no: int = 1) -> None:
        """Insert a task of a run."""
        told = {"path": json.dumps(path), "status": status, "message": ""}
        self.insert("task", run_no=run_no, task_no=task_no, step_type="task", mock=0, **told)

    def attempt(self, task_no: int = 0, number: int = 1, **columns: Any) -> None:
        """Insert an attempt of a task of the first run."""
        usual = {"start_ts": START, "end_ts": END, "status": "SUCCESS", "message": ""}
        usual |= {"run_no": 1, "task_no": task_no, "number": number, "parameters": "{}"}
        self.insert("attempt", **(usual | columns))

    def observe(
        self,
        key: Any,
        value: Any,
        step: int = 0,
        task_no: int = 0,
        attempt: int = 1,
        run_no: int = 1,
    ) -> None:
        """Insert an observation at the next position, and its series when it is new."""
        named = (run_no, task_no, attempt, key)
        if named not in self.series:
            self.series[named] = sum(1 for other in self.series if other[0] == run_no)
            rest = {"task_no": task_no, "attempt": attempt, "key": key}
            self.insert("series", run_no=run_no, series_no=self.series[named], **rest)
        at = self.positions[run_no] = self.positions.get(run_no, 0) + 1
        column = values.to_column(value)
        rest = {"series_no": self.series[named], "step": step, "ts": START, "value": column}
        self.insert("observation", run_no=run_no, position=at, **rest)
        self.connection.execute("UPDATE run SET position = ? WHERE run_no = ?", (at, run_no))

    def set_aside(self, offset: int, excerpt: bytes, reason: str = "torn", size: int = 0) -> None:
        """Insert a piece of the first run's spool that is no event."""
        told = {"size": size or len(excerpt), "reason": reason, "excerpt": excerpt}
        self.insert("set_aside", run_no=1, offset=offset, **told)

    def metrics(self, task: str = "train") -> dict[str, Any]:
        """Return what the document has of a task of the run `r`."""
        found: dict[str, Any] = read_run_log(self.home, "r")["steps"][task]["user_defined_metrics"]
        return found

    def written(self, run_id: str = "r") -> str:
        """Return the document as it is written."""
        pieces: list[str] = []
        write_run_log(self.home, run_id, pieces.append)
        return "".join(pieces)
