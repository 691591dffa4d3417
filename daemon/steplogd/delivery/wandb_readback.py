"""Reads a run back from where it belongs: from its transaction logs, or from the server."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol

import wandb
from wandb.apis.public.runs import RunNotFoundError

from steplogd.delivery.contract import Refused
from steplogd.delivery.wandb_folders import Content, logs_of
from steplogd.delivery.wandb_frames import State
from steplogd.delivery.wandb_rows import row_from_columns

if TYPE_CHECKING:
    from collections.abc import Iterator

    from steplogd.delivery.wandb_frames import Place, Read
    from steplogd.delivery.wandb_rows import Row


class Readable(Protocol):
    """What a run holds."""

    state: State
    """What it holds of the run itself, complete once all rows were taken."""

    def rows(self) -> Iterator[Row]:
        """Return our rows, each once, in the order of the run log."""


def content_of(place: Place, request: Read) -> Readable:
    """Return what a run holds."""
    if place.mode == "offline":
        return Content(logs_of(Path(place.directory), request.id, place.mode))
    return ServerContent(place, request)


class ServerContent:
    """What the server holds of a run."""

    def __init__(self, place: Place, request: Read) -> None:
        path = "/".join(filter(None, (place.entity, request.project, request.id)))
        try:
            self._run: Any = wandb.Api().run(path)
        except RunNotFoundError as error:
            raise Refused("W&B has no such run: `steplogd replay` sends it again") from error
        summary = dict(self._run.summary_metrics)
        self.state = State(self._run.state, dict(self._run.config), summary)

    def rows(self) -> Iterator[Row]:
        """Return our rows, as the server keeps them."""
        for columns in self._run.scan_history(use_cache=False):
            if row := row_from_columns({k: v for k, v in columns.items() if v is not None}):
                yield row
