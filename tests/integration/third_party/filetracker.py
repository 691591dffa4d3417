"""A third party's backend: it appends what arrives to a file, which outlives any kill."""

from __future__ import annotations

import contextlib
import json
import os
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar

import msgspec

from steplogd.delivery.contract import Limits, Observation, Point, RunInfo

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence


class FileOptions(msgspec.Struct, frozen=True):
    """The keys of the backend's table.

    Attributes:
        path: The file.
        hangs: Whether it never answers.
        reads: Whether it can be read back.
    """

    path: str = ""
    hangs: bool = False
    reads: bool = False


class FileBackend:
    """A connection to the file."""

    Options: ClassVar[type[msgspec.Struct]] = FileOptions
    package: ClassVar[str] = ""
    extra: ClassVar[str] = ""

    def __init__(self, options: FileOptions, home: Path) -> None:
        self.limits = Limits(observations=40)
        self.path = options.path or str(home / "arrived.jsonl")
        self.hangs = options.hangs
        self.reads = options.reads

    def open(self, run: RunInfo) -> FileSession:
        """Begin with a run."""
        return ReadableFileSession(self, run) if self.reads else FileSession(self, run)

    def close(self) -> None:
        """Do nothing: nothing is open."""

    def append(self, lines: list[dict[str, Any]]) -> None:
        """Append some lines, all or none."""
        while self.hangs:
            time.sleep(60)
        descriptor = os.open(self.path, os.O_RDWR | os.O_APPEND | os.O_CREAT, 0o600)
        try:
            size = os.fstat(descriptor).st_size
            # A kill may have left half a line, which comes again.
            is_torn = size > 0 and os.pread(descriptor, 1, size - 1) != b"\n"
            told = b"".join(json.dumps(line).encode() + b"\n" for line in lines)
            os.write(descriptor, b"\n" + told if is_torn else told)
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


class ReadableFileSession(FileSession):
    """The same, which can be read back."""

    def expected(self, batch: Sequence[Observation]) -> Iterator[Point]:
        """Say what the file should hold of these observations."""
        for seen in batch:
            yield Point("metric", seen.key, seen.step, value=json.dumps(seen.value))

    def expected_state(self, run: RunInfo) -> Iterator[Point]:
        """Say what it should hold of the run itself."""
        yield Point("run", "status", value=run.status)

    def held(self) -> Iterator[Point]:
        """Read it back."""
        path = Path(self._backend.path)
        with contextlib.suppress(FileNotFoundError), path.open("rb") as lines:
            for line in lines:
                told = _told(line)
                if told.get("run") == self._run.run_id and "at" in told:
                    value = json.dumps(told["value"])
                    yield Point("metric", told["key"], told["step"], value=value)


def _told(line: bytes) -> dict[str, Any]:
    """Return what a line says; half a line that a kill left, or the end of one, says nothing."""
    try:
        told: dict[str, Any] = json.loads(line)
    except ValueError:
        return {}
    return told
