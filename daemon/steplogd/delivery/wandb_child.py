"""The child process that runs W&B, as the daemon sees it: asked, watched, ended and started anew.

W&B brings a process of its own, wandb-core, that does not come back when it dies. So all of W&B
lives in a child, and whatever goes wrong there, in time or not at all, ends the child and what it
has started. It ends by itself when the daemon is gone.
"""

from __future__ import annotations

import contextlib
import copy
import os
import selectors
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path
from typing import TYPE_CHECKING, Final

import msgspec

from steplog.home import make_folder
from steplogd.delivery.contract import Refused, Unavailable
from steplogd.delivery.wandb_frames import Begin, Failed, Rows, next_answer, to_frame
from steplogd.delivery.wandb_key import key_in

if TYPE_CHECKING:
    from collections.abc import Iterator

    from steplogd.delivery.wandb_frames import Answer, Place, Request

MODULE: Final = "steplogd.delivery.wandb_worker"

_CHUNK_BYTES: Final = 64 * 1024
_END_SECONDS: Final = 5.0
"""How long killed processes may take to disappear; they are the kernel's then."""

_KEPT: Final = {
    *("WANDB_API_KEY", "WANDB_IDENTITY_TOKEN_FILE", "WANDB_CREDENTIALS_FILE", "WANDB_CONFIG_DIR"),
    *("WANDB_CACHE_DIR", "WANDB_DATA_DIR", "WANDB_INSECURE_DISABLE_SSL"),
    *("WANDB_HTTP_PROXY", "WANDB_HTTPS_PROXY", "WANDB_APP_URL"),
}
"""W&B's variables that are about the machine; the others would change runs that are not theirs."""


class Child:
    """One child process at a time, which any thread may ask.

    Attributes:
        generation: Counts the processes; a run is open in the process that opened it.
        is_closed: Whether it was closed: it starts no process any more.

    Args:
        place: Where all runs go.
        patience_seconds: How long one answer may take before the child counts as hanging.
        key_file: A file with W&B's key, read whenever the process is started.
    """

    def __init__(self, place: Place, patience_seconds: float, key_file: Path | None = None) -> None:
        self.generation = 0
        self.patience_seconds = patience_seconds
        self._place = place
        self._key_file = key_file
        self._process: subprocess.Popen[bytes] | None = None
        self._lock = threading.Lock()
        self.is_closed = False

    @property
    def pid(self) -> int | None:
        """The process, while there is one."""
        return self._process.pid if self._process else None

    def start(self) -> int:
        """Start it unless it runs; return its generation.

        Raises:
            Unavailable: It cannot be started, W&B cannot be imported there, or this is closed.
        """
        with self._lock:
            self._refuse_when_closed()
            if self._process is not None and self._process.poll() is not None:
                self._end()
            if self._process is None:
                self._start()
            return self.generation

    def ask(self, request: Request, generation: int) -> Answer:
        """Ask that very process; the last answer is returned, and `Rows` are passed over.

        Raises:
            Unavailable: It did not answer, or not in time, or could not do it now.
            Refused: It will never be able to.
        """
        for answer in self.ask_all(request, generation):
            last = answer
        return last

    def ask_all(self, request: Request, generation: int) -> Iterator[Answer]:
        """Ask likewise; return all answers as they come. Others wait until they were taken."""
        with self._lock:
            if self._process is None or generation != self.generation:
                raise Unavailable("the process that runs W&B was started anew meanwhile")
            try:
                yield from self._exchange(request)
            except (Refused, Unavailable):
                raise
            except BaseException:  # half an answer is still to come: nobody could tell whose it is
                self._end()
                raise

    def elsewhere(self, directory: str) -> Child:
        """Return another of the same settings, not started yet, with its files in this folder."""
        other = copy.copy(self)
        other.generation, other._process, other._lock = 0, None, threading.Lock()
        other.is_closed = False
        other._place = msgspec.structs.replace(self._place, directory=directory)
        return other

    def close(self) -> None:
        """End the process and what it has started; all that was answered for is durable.

        Whoever waits for an answer meanwhile gets `Unavailable`, as does who would start it anew.
        """
        self.is_closed = True  # first: who waits for the lock shall not start another
        if (process := self._process) is not None:
            _kill(process.pid)
        with self._lock:
            self._end()

    def _start(self) -> None:
        directory = Path(self._place.directory)
        key = key_in(self._key_file)
        try:
            make_folder(directory)
            self._process = subprocess.Popen(
                [sys.executable, "-P", "-m", MODULE],
                cwd=directory,
                env=_environment(self._place.base_url) | key,
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=subprocess.DEVNULL,
                bufsize=0,
                start_new_session=True,  # the terminal's signals are for the daemon
            )
        except OSError as error:
            raise Unavailable(f"the process that runs W&B cannot be started: {error}") from error
        if self.is_closed:  # meanwhile: who closes it has not seen this process, and waits for us
            self._end()
            self._refuse_when_closed()
        for pipe in (self._process.stdin, self._process.stdout):
            os.set_blocking(pipe.fileno(), False)  # type: ignore[union-attr]
        self.generation += 1
        for _ in self._exchange(Begin(self._place)):
            pass

    def _refuse_when_closed(self) -> None:
        if self.is_closed:
            raise Unavailable("the backend was closed meanwhile")

    def _exchange(self, request: Request) -> Iterator[Answer]:
        """Ask, and return the answers; whoever answers too late or not at all is ended."""
        try:
            self._write(to_frame(request))
            while True:
                answer = self._next_answer()
                if isinstance(answer, Failed):
                    break
                yield answer
                if not isinstance(answer, Rows):
                    return
        except TimeoutError:
            self._end()
            raise Unavailable(
                f"the process that runs W&B did not answer within {self.patience_seconds:g} s; "
                "it was ended, and the next call starts it anew"
            ) from None
        except (OSError, EOFError) as error:
            self._end()
            raise Unavailable(
                "the process that runs W&B died; the next call starts it anew"
            ) from error
        if answer.is_broken:
            self._end()
        raise Refused(answer.message) if answer.is_refused else Unavailable(answer.message)

    def _write(self, frame: bytes) -> None:
        assert self._process is not None  # noqa: S101
        deadline = time.monotonic() + self.patience_seconds
        pipe = self._process.stdin.fileno()  # type: ignore[union-attr]
        left = memoryview(frame)
        while left:
            _wait_for(pipe, selectors.EVENT_WRITE, deadline)
            left = left[os.write(pipe, left[:_CHUNK_BYTES]) :]

    def _next_answer(self) -> Answer:
        deadline = time.monotonic() + self.patience_seconds
        return next_answer(lambda count: self._read(count, deadline))

    def _read(self, count: int, deadline: float) -> bytes:
        assert self._process is not None  # noqa: S101
        pipe = self._process.stdout.fileno()  # type: ignore[union-attr]
        content = bytearray()
        while len(content) < count:
            _wait_for(pipe, selectors.EVENT_READ, deadline)
            if not (chunk := os.read(pipe, min(_CHUNK_BYTES, count - len(content)))):
                raise EOFError
            content += chunk
        return bytes(content)

    def _end(self) -> None:
        """Kill the child and all that it has started, and wait until they are gone."""
        process, self._process = self._process, None
        if process is None:
            return
        started = _kill(process.pid)
        process.wait()
        for pipe in (process.stdin, process.stdout):
            with contextlib.suppress(OSError):
                pipe.close()  # type: ignore[union-attr]
        wait_until_gone(started)


def _kill(pid: int) -> list[int]:
    """Kill a child and all that it has started; return what that is."""
    started = _descendants(pid)
    with contextlib.suppress(ProcessLookupError):
        os.killpg(pid, signal.SIGKILL)
    for other in started:  # wandb-core has left the group for a session of its own
        with contextlib.suppress(ProcessLookupError):
            os.kill(other, signal.SIGKILL)
    return started


def wait_until_gone(pids: list[int]) -> None:
    """Wait until killed processes that are not our children have closed their files."""
    deadline = time.monotonic() + _END_SECONDS
    while any(is_running(pid) for pid in pids) and time.monotonic() < deadline:
        time.sleep(0.001)


def is_running(pid: int) -> bool:
    """Tell whether there is such a process, and it is no corpse that nobody has fetched."""
    try:
        return Path(f"/proc/{pid}/stat").read_bytes().rpartition(b")")[2].split()[0] != b"Z"
    except OSError:
        return False


def _wait_for(pipe: int, event: int, deadline: float) -> None:
    with selectors.DefaultSelector() as selector:
        selector.register(pipe, event)
        if not selector.select(max(0.0, deadline - time.monotonic())):
            raise TimeoutError


def _descendants(pid: int) -> list[int]:
    found: list[int] = []
    for task in Path("/proc").glob(f"{pid}/task/*/children"):
        with contextlib.suppress(OSError):
            for child in map(int, task.read_bytes().split()):
                found += [child, *_descendants(child)]
    return found


def _environment(base_url: str) -> dict[str, str]:
    """Return our environment, as far as W&B shall know of it."""
    plain = {
        name: value
        for name, value in os.environ.items()
        if not name.startswith("WANDB_") or name in _KEPT
    }
    server = {"WANDB_BASE_URL": base_url} if base_url else {}  # for reading back as well
    return plain | server | {"WANDB_ERROR_REPORTING": "false", "WANDB_SILENT": "true"}
