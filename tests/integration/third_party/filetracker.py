"""A third party's backend: it appends what arrives to a file, which outlives any kill."""

from __future__ import annotations

import json
import os
import time
from typing import TYPE_CHECKING, Any, ClassVar

import msgspec

from steplogd.delivery.contract import Limits, Observation, RunInfo

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path


class FileOptions(msgspec.Struct, frozen=True):
    """The keys of the backend's table.

    Attributes:
        path: The file.
        hangs: Whether it never answers.
    """

    path: str = ""
    hangs: bool = False


class FileBackend:
    """A connection to the file."""

    Options: ClassVar[type[msgspec.Struct]] = FileOptions
    package: ClassVar[str] = ""
    extra: ClassVar[str] = ""

    def __init__(self, options: FileOptions, home: Path) -> None:
        self.limits = Limits(observations=40)
        self.path = options.path or str(home / "arrived.jsonl")
        self.hangs = options.hangs

    def open(self, run: RunInfo) -> FileSession:
        """Begin with a run."""
        return FileSession(self, run)

    def close(self) -> None:
        """Do nothing: nothing is open."""

    def append(self, lines: list[dict[str, Any]]) -> None:
        """Append some lines, all or none."""
        while self.hangs:
            time.sleep(60)
        descriptor = os.open(self.path, os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o600)
        try:
            os.write(descriptor, b"".join(json.dumps(line).encode() + b"\n" for line in lines))
        finally:
            os.close(descriptor)


class FileSession:
    """What arrives of one run."""

    def __init__(self, backend: FileBackend, run: RunInfo) -> None:
        self._backend = backend
        self._run = run

    def send(self, batch: Sequence[Observation]) -> None:
        """Append the observations."""
        name = self._run.run_id
        self._backend.append(
            [
                {"run": name, "at": a.position, "key": a.key, "step": a.step, "value": a.value}
                for a in batch
            ]
        )

    def settle(self, run: RunInfo) -> None:
        """Append how the run stands."""
        self._backend.append([{"run": run.run_id, "status": run.status}])

    def close(self) -> None:
        """Do nothing: nothing is open."""
