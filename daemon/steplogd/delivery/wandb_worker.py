"""The program of the child process in which W&B runs: answers the daemon on its standard output.

    python -m steplogd.delivery.wandb_worker

It ends when its standard input does, so that no daemon leaves one behind, however it ended.
"""

from __future__ import annotations

import contextlib
import os
import queue
import signal
import threading
from typing import TYPE_CHECKING, Any, Final

from steplogd.delivery.wandb_errors import meaning
from steplogd.delivery.wandb_frames import Begin, Greet, Open, Read, next_request, to_frame
from steplogd.delivery.wandb_writers import children

if TYPE_CHECKING:
    from steplogd.delivery.wandb_frames import Answer, Request
    from steplogd.delivery.wandb_runs import Runs

_CHUNK_BYTES: Final = 64 * 1024


def main() -> None:
    """Answer until nobody asks any more."""
    source, sink = _take_pipes()
    requests: queue.SimpleQueue[Request] = queue.SimpleQueue()
    threading.Thread(target=_receive, args=(source, requests), daemon=True).start()
    runs: Runs | None = None
    is_online = False
    while True:
        request = requests.get()
        try:
            if isinstance(request, Begin):
                from steplogd.delivery.wandb_runs import Runs  # imports W&B

                runs, is_online = Runs(request.place), request.place.mode == "online"
            assert runs is not None  # noqa: S101  # Begin comes first
            for answer in runs.answers(request):
                _send(sink, answer)
        except BaseException as error:  # noqa: BLE001  # W&B may raise anything, SystemExit too
            failed = meaning(error)
            # Nobody knows what is left of W&B then; unless it has not heard of the run yet.
            harmless = (Read, Greet) if is_online else (Open, Read)
            failed.is_broken |= not isinstance(request, harmless)
            _send(sink, failed)


def _take_pipes() -> tuple[int, int]:
    """Keep the pipes for us: whatever anybody prints here goes nowhere."""
    pipes = os.dup(0), os.dup(1)
    nowhere = os.open(os.devnull, os.O_RDWR)
    for descriptor in (0, 1, 2):
        os.dup2(nowhere, descriptor)
    return pipes


def _receive(source: int, requests: queue.SimpleQueue[Any]) -> None:
    """Take requests as they come, in a thread: the end is noticed in the midst of a call too."""

    def read(count: int) -> bytes:
        content = bytearray()
        while len(content) < count:
            if not (chunk := os.read(source, min(_CHUNK_BYTES, count - len(content)))):
                _leave()
            content += chunk
        return bytes(content)

    while True:
        requests.put(next_request(read))


def _send(sink: int, answer: Answer) -> None:
    left = memoryview(to_frame(answer))
    try:
        while left:
            left = left[os.write(sink, left) :]
    except OSError:
        _leave()


def _leave() -> None:
    """End at once, with wandb-core; nothing is finished that the daemon did not finish."""
    for pid in children():
        with contextlib.suppress(ProcessLookupError):
            os.kill(pid, signal.SIGKILL)
    os._exit(0)


if __name__ == "__main__":
    main()
