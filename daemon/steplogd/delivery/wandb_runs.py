"""All runs of the child process: finds them, writes to them, ends them, reads them back."""

from __future__ import annotations

import os
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import wandb

from steplogd.delivery.contract import Refused, Unavailable
from steplogd.delivery.wandb_errors import Lost
from steplogd.delivery.wandb_folders import last_position, logs_of, make_durable, project_in
from steplogd.delivery.wandb_frames import (
    Ask,
    Begin,
    Done,
    Durable,
    Greet,
    Greeted,
    Log,
    Open,
    Opened,
    Read,
    Rows,
    Settle,
)
from steplogd.delivery.wandb_log import BrokenLog
from steplogd.delivery.wandb_names import OWN_PREFIX, STEP_COLUMN, metric_pattern
from steplogd.delivery.wandb_proof import proof_of
from steplogd.delivery.wandb_readback import content_of
from steplogd.delivery.wandb_rows import MICROSECONDS
from steplogd.delivery.wandb_settings import FLUSH_SECONDS, settings_of
from steplogd.delivery.wandb_writers import end_orphans, is_core_running

if TYPE_CHECKING:
    from collections.abc import Iterator

    from steplogd.delivery.wandb_frames import Answer, Place, Request
    from steplogd.delivery.wandb_rows import Row

SETTLE_SECONDS: Final = 20.0
"""How long what is known of a run may take to be durable; less than the daemon's patience."""

ROWS_PER_FRAME: Final = 1000

ANSWER_SECONDS: Final = 20
"""How long the server may take to say who we are; less than the daemon's patience."""


class OpenRun:
    """One run that is open in this process; W&B hears of it when there is something to write.

    Attributes:
        position: The last one that was given to W&B.
        project: Where the run lies.
        entity: Who owns that; "" while it is not known.
    """

    def __init__(self, place: Place, request: Open, logs: list[Path]) -> None:
        # A run stays where it was begun, also when its tag became known too late.
        self.project = next(filter(None, map(project_in, logs)), request.project)
        self.entity = place.entity
        self.position = 0
        self._place = place
        self._request = request
        self._logs = logs
        self._run: wandb.Run | None = None
        self._proof = proof_of(place)
        self._columns: set[str] = set()
        self._settlements = 0
        if place.mode == "online":
            self._begin()  # the server says where it stands
            self.position = self._proof.position()
        else:
            self.position = max(map(last_position, logs), default=0)

    def log(self, rows: list[Row]) -> None:
        """Give rows to W&B."""
        run = self._begin()
        for row in rows:
            self._define(run, row)
            own = {STEP_COLUMN: row.step, "_timestamp": row.ts / MICROSECONDS}
            run.log({**row.cells, **own}, step=row.position, commit=True)
            self._proof.expect(row)
            self.position = row.position

    def is_lost(self) -> bool:
        """Tell whether somebody took away what was written of it, where that is on this machine."""
        is_here = self._place.mode == "offline"
        return is_here and not all(path.exists() for path in self._logs)

    def durable(self) -> int:
        """Return the position up to which the run is durable.

        Raises:
            Unavailable: It will not come further.
        """
        if self._run is None:
            return self.position
        position = self._proof.position()
        if position < self.position and not is_core_running():
            raise Unavailable("wandb-core died; it is started anew with the next call")
        return position

    def settle(self, request: Settle) -> None:
        """Write what is known of the run, end it if it has ended, and wait for that."""
        run = self._begin()
        run.config.update(request.config, allow_val_change=True)  # type: ignore[no-untyped-call]
        self._summarize(run, request.summary)
        if request.exit_code is not None:
            self._settlements += 1
            run.finish(exit_code=request.exit_code)
        deadline = time.monotonic() + SETTLE_SECONDS
        while (count := self._proof.settlements()) is not None and count < self._settlements:
            if not is_core_running() or time.monotonic() > deadline:
                raise Unavailable("W&B did not take what is known of the run")
            time.sleep(FLUSH_SECONDS / 5)

    def _begin(self) -> wandb.Run:
        if self._run is None:
            self._run = run = wandb.init(
                id=self._request.id,
                name=self._request.name,
                project=self.project,
                entity=self._place.entity or None,
                dir=self._place.directory,
                config=self._request.config,
                resume="allow",
                reinit="create_new",
                settings=settings_of(self._place),
            )
            self.entity = run.entity or self.entity
            self._proof.begin(run)
            self._logs.append(Path(run.settings.sync_file))
            run.define_metric(STEP_COLUMN, hidden=True)
            self._summarize(run, {OWN_PREFIX + "status": "PROCESSING"})
        return self._run

    def _define(self, run: wandb.Run, row: Row) -> None:
        for name in row.cells.keys() - self._columns:
            self._columns.add(name)
            run.define_metric(metric_pattern(name), step_metric=STEP_COLUMN)

    def _summarize(self, run: wandb.Run, summary: dict[str, Any]) -> None:
        self._settlements += 1
        run.summary.update(summary)


class Runs:
    """All runs that are open in this process.

    Args:
        place: Where all runs go.
    """

    def __init__(self, place: Place) -> None:
        self._place = place
        self._directory = Path(place.directory)
        self._open: dict[str, OpenRun] = {}

    def answers(self, request: Request) -> Iterator[Answer]:
        """Do what the daemon asks for; raises whatever W&B raises."""
        match request:
            case Begin():
                yield Done()
            case Open():
                yield self._opened(request)
            case Log():
                self._open[request.id].log(request.rows)
                yield Done()
            case Ask():
                yield Durable(self._open[request.id].durable())
            case Settle():
                yield self._settled(request)
            case Read():
                yield from self._content(request)
            case Greet():
                yield _greeted(self._directory)

    def _opened(self, request: Open) -> Opened:
        run = self._open.get(request.id)
        if run is None:
            logs = logs_of(self._directory, request.id, self._place.mode)
            end_orphans(logs)
            for log in logs:
                make_durable(log)  # what is found there counts as delivered
            run = self._open[request.id] = OpenRun(self._place, request, logs)
        elif run.is_lost():
            raise Lost(
                "the files that W&B had of the run are gone; "
                "the next call starts W&B anew, and begins others"
            )
        return Opened(run.position, run.project, run.entity)

    def _settled(self, request: Settle) -> Done:
        self._open[request.id].settle(request)
        if request.exit_code is not None:
            del self._open[request.id]
        return Done()

    def _content(self, request: Read) -> Iterator[Answer]:
        try:
            yield from self._rows_and_state(request)
        except BrokenLog as error:  # it costs a look at this run, and at no other
            raise Refused(str(error)) from error

    def _rows_and_state(self, request: Read) -> Iterator[Answer]:
        content = content_of(self._place, request)
        rows: list[Row] = []
        for row in content.rows():
            rows.append(row)
            if len(rows) == ROWS_PER_FRAME:
                yield Rows(rows)
                rows = []
        yield Rows(rows)
        yield content.state


def _greeted(directory: Path) -> Greeted:
    os.environ["WANDB_CACHE_DIR"] = str(directory)  # a look must leave nothing with the user
    viewer: Any = wandb.Api(timeout=ANSWER_SECONDS).viewer
    return Greeted(str(viewer.username or ""), str(viewer.entity or ""))
