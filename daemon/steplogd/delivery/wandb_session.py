"""One run's counterpart in W&B, as the daemon sees it: what is written to it, and how it ends."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, Final

from steplogd.delivery.contract import Point, Unavailable
from steplogd.delivery.secrets import without_credentials
from steplogd.delivery.wandb_frames import (
    Ask,
    Durable,
    Log,
    Open,
    Opened,
    Read,
    Rows,
    Settle,
    State,
)
from steplogd.delivery.wandb_names import project_name
from steplogd.delivery.wandb_rows import (
    config_of,
    points_of,
    rows_of,
    state_points,
    summary_of,
)

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping, Sequence

    from steplogd.delivery.contract import Observation, RunInfo
    from steplogd.delivery.wandb_child import Child
    from steplogd.delivery.wandb_frames import Place

FIRST_LOOK_SECONDS: Final = 0.005
LONGEST_LOOK_SECONDS: Final = 1.0
"""How often it is asked whether rows are durable; offline it takes some 50 ms."""

STATES: Final = {"PROCESSING": "running", "SUCCESS": "finished", "FAIL": "failed"}
"""What W&B calls the statuses of a run."""


class WandbSession:
    """The connection to one W&B run, which is opened again wherever W&B was started anew.

    Args:
        child: Where W&B runs.
        place: Where runs go.
        run: The run.
        project: The project of all runs; "" for one by tag.
        found: Where the run lies, for who only reads it back: opening it would end whoever writes
            it now.
    """

    def __init__(
        self,
        child: Child,
        place: Place,
        run: RunInfo,
        project: str,
        found: Opened | None = None,
    ) -> None:
        self._child = child
        self._place = place
        self._run = run
        self._default_project = project
        self._generation = 0
        self._found = found or Opened(0, "", "")
        if found is None:
            self._reach()

    @property
    def counterpart(self) -> Mapping[str, str]:
        """What a client in a task needs to reach the run."""
        place, found = self._place, self._found
        return {
            "type": "wandb",
            "entity": found.entity,
            "project": found.project,
            "id": self._run.run_id,
            "mode": place.mode,
            "base_url": without_credentials(place.base_url),
            "directory": place.directory,
        }

    def send(self, batch: Sequence[Observation]) -> None:
        """Write what W&B does not have yet, and return when all of it is durable there."""
        self._reach()
        rows = list(rows_of(batch, self._found.position))
        if not rows and self._found.position == 0:
            return
        if rows:
            self._child.ask(Log(self._run.run_id, rows), self._generation)
            self._found.position = rows[-1].position
        self._wait_until_durable(min(batch[-1].position, self._found.position))

    def settle(self, run: RunInfo) -> None:
        """Write parameters, message and status; end the run if it has ended."""
        self._run = run
        self._reach()
        exit_code = {"SUCCESS": 0, "FAIL": 1}.get(run.status)
        request = Settle(run.run_id, config_of(run), summary_of(run), exit_code)
        self._child.ask(request, self._generation)
        if exit_code is not None:
            self._generation = 0  # what comes now opens it again

    def close(self) -> None:
        """Do nothing: the run stays open in the child, and whoever opens it next finds it there."""

    def expected(self, batch: Sequence[Observation]) -> Iterable[Point]:
        """Say what W&B should hold once it has a batch."""
        for row in rows_of(batch):
            yield from points_of(row)

    def expected_state(self, run: RunInfo) -> Iterable[Point]:
        """Say what it should hold of the run itself once that is settled."""
        yield Point("run", "state", value=STATES[run.status])
        yield from state_points(config_of(run), summary_of(run))

    def held(self) -> Iterator[Point]:
        """Read back all that W&B holds of the run."""
        request = Read(self._run.run_id, self._found.project)
        for answer in self._child.ask_all(request, self._child.start()):
            if isinstance(answer, Rows):
                for row in answer.rows:
                    yield from points_of(row)
            if isinstance(answer, State):
                yield Point("run", "state", value=answer.state)
                yield from state_points(answer.config, answer.summary)

    def _reach(self) -> None:
        """Open the run, unless that very process has it open already."""
        generation = self._child.start()
        if generation == self._generation:
            return
        run = self._run
        project = project_name(run.tag, self._default_project)
        opening = Open(run.run_id, run.run_id, project, config_of(run))
        found = self._child.ask(opening, generation)
        assert isinstance(found, Opened)  # noqa: S101
        self._found, self._generation = found, generation

    def _wait_until_durable(self, position: int) -> None:
        deadline = time.monotonic() + self._child.patience_seconds
        pause = FIRST_LOOK_SECONDS
        while not self._is_durable(position):
            if time.monotonic() > deadline:
                raise Unavailable("W&B has taken the values, but they are not durable there yet")
            time.sleep(pause)
            pause = min(2 * pause, LONGEST_LOOK_SECONDS)

    def _is_durable(self, position: int) -> bool:
        answer = self._child.ask(Ask(self._run.run_id), self._generation)
        assert isinstance(answer, Durable)  # noqa: S101
        return answer.position >= position
