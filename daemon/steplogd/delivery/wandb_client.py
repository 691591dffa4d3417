"""W&B's own client inside a task: a W&B run object, for the run that the daemon feeds.

Online it shares the run with the daemon, as one of W&B's secondary writers. Offline it writes a
folder of its own with the run's id, below `tasks` in the daemon's directory: `wandb sync` it before
those of the daemon, whose last one says how the run ended.
"""

from __future__ import annotations

import contextlib
import os
import threading
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from steplog.home import make_folder

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    import wandb

FOLDER: Final = "tasks"
"""Where clients write offline: the daemon must not take their rows for its own."""

ANSWER_SECONDS: Final = 20.0
"""How long the server may take; W&B itself would wait a minute and a half."""


_SERVICE: Final = "WANDB_SERVICE"


class Unreachable(Exception):
    """W&B is not installed here, or its files cannot be written."""


@contextlib.contextmanager
def client_context(counterpart: Mapping[str, str]) -> Iterator[wandb.Run]:
    """Give a W&B run object for as long as the block lasts; any number of threads may have one.

    The end of the block does not end the run: the daemon does that.

    Args:
        counterpart: What the daemon's session says of the run.

    Raises:
        Unreachable: W&B is not installed here, or there is no place for its files.
        wandb.errors.Error: W&B does not give the run.
    """
    try:
        import wandb
    except ImportError as error:
        raise Unreachable(f"W&B cannot be imported ({error}): pip install wandb") from error
    with _runs.shared(wandb, counterpart) as run:
        yield run


class _Runs:
    """The runs that are open in this process; W&B opens none twice, so threads share one."""

    def __init__(self) -> None:
        self._begin_anew()
        os.register_at_fork(after_in_child=self._begin_anew)

    def _begin_anew(self) -> None:
        """Know of no run; a forked child leaves those of its parent alone."""
        self._lock = threading.Lock()
        self._open: dict[str, tuple[wandb.Run, int]] = {}

    @contextlib.contextmanager
    def shared(self, package: Any, counterpart: Mapping[str, str]) -> Iterator[wandb.Run]:
        """Begin with the first who needs the run, and finish with the last."""
        name = counterpart["id"]
        with self._lock:
            run, users = self._open.get(name, (None, 0))
            run = run or _begin(package, counterpart)
            self._open[name] = run, users + 1
        try:
            yield run
        finally:
            with self._lock:
                run, users = self._open.pop(name)
                if users > 1:
                    self._open[name] = run, users - 1
                else:
                    run.finish()


_runs: Final = _Runs()


def _begin(wandb_package: Any, counterpart: Mapping[str, str]) -> wandb.Run:
    is_online = counterpart["mode"] == "online"
    service = os.environ.get(_SERVICE)
    run: wandb.Run = wandb_package.init(
        id=counterpart["id"],
        project=counterpart["project"],
        entity=counterpart["entity"] or None,
        dir=_folder(counterpart["directory"]),
        resume=None if is_online else "allow",  # who shares a run does not resume it
        reinit="create_new",
        settings=wandb_package.Settings(**_settings(counterpart, is_online)),
    )
    if service is None:  # W&B tells child processes to share its own, which takes a run once
        os.environ.pop(_SERVICE, None)
    return run


def _settings(counterpart: Mapping[str, str], is_online: bool) -> dict[str, Any]:
    settings: dict[str, Any] = {
        "console": "off",  # what a task prints is its own
        "finish_timeout": ANSWER_SECONDS,
        "init_timeout": ANSWER_SECONDS,
        "mode": "shared" if is_online else "offline",
        "silent": True,
        "x_label": f"task-{os.getpid()}",
        "x_primary": False,
        "x_update_finish_state": False,
    }
    if counterpart["base_url"]:
        settings["base_url"] = counterpart["base_url"]
    return settings


def _folder(directory: str) -> str:
    folder = Path(directory, FOLDER)
    try:
        make_folder(folder.parent)
        make_folder(folder)
    except OSError as error:
        raise Unreachable(f"W&B has no place for its files: {error}") from error
    return str(folder)
