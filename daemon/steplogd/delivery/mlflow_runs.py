"""Where a run's counterpart lies in MLflow: how it is found, and made when there is none."""

from __future__ import annotations

import contextlib
import threading
import time
from typing import TYPE_CHECKING, Final

from steplogd.delivery.contract import Refused, Unavailable
from steplogd.delivery.mlflow_entities import MAX_TAG, fit
from steplogd.delivery.mlflow_names import MAX_NAME, mlflow_name, original_name
from steplogd.delivery.mlflow_points import as_ms
from steplogd.delivery.mlflow_proof import position_in

if TYPE_CHECKING:
    from collections.abc import Iterator

    from mlflow.entities import Experiment, Run
    from mlflow.tracking import MlflowClient

    from steplogd.delivery.contract import RunInfo

RUN_ID_TAG: Final = "steplog.run_id"
"""The tag that makes a run findable: MLflow gives it an id of its own."""

TAG_TAG: Final = "steplog.tag"
"""The tag with the run's own tag, whole even where the experiment's name could not be."""

DEFAULT_EXPERIMENT: Final = "Default"
"""The experiment of runs without a tag."""

_ACTIVE: Final = "active"


LOOK_AGAIN_SECONDS: Final = 60.0
"""How often it is looked for what late creates have made."""

FORGET_SECONDS: Final = 3600.0
"""How late a create may come."""

MAX_LATE: Final = 200
"""How many are remembered: each look asks for each of them."""


class LateCreates:
    """Creates without an answer: each may make a second, empty run, minutes after it was given up.

    One thread or many may use it. The next daemon does not know of them: it drops the twins of a
    run when it opens that.
    """

    def __init__(self) -> None:
        self._runs: dict[str, tuple[RunInfo, float]] = {}
        self._looked = time.monotonic()
        self._lock = threading.Lock()

    @contextlib.contextmanager
    def unless_answered(self, run: RunInfo) -> Iterator[None]:
        """Remember the run unless the block, which makes it, ends well."""
        try:
            yield
        except Exception:
            with self._lock:
                if len(self._runs) < MAX_LATE:
                    self._runs[run.run_id] = (run, time.monotonic())
            raise

    def look_again(self, client: MlflowClient, *, at_once: bool = False) -> None:
        """Drop what such creates have made since, if it is time to."""
        now = time.monotonic()
        with self._lock:
            if not at_once and now - self._looked < LOOK_AGAIN_SECONDS:
                return
            self._looked = now
            self._runs = {
                run_id: (run, since)
                for run_id, (run, since) in self._runs.items()
                if now - since < FORGET_SECONDS
            }
            runs = [run for run, _ in self._runs.values()]
        for run in runs:
            with contextlib.suppress(Refused):  # deleted since; whoever opens that run will say so
                drop_empty_twins(client, run)


def find_or_make(
    client: MlflowClient, run: RunInfo, artifact_root: str | None, late: LateCreates
) -> Run:
    """Return the one MLflow run that stands for a run.

    It looks in the experiment of the run's tag and in Default, where the run lies if its tag became
    known too late. One that somebody deleted counts, or a restart would bring it back.

    Args:
        client: The connection.
        run: What is to be found.
        artifact_root: Where a new experiment keeps its artifacts; None leaves that to MLflow.
        late: Remembers a create whose answer does not come.

    Raises:
        Refused: The run, or its experiment, was deleted in MLflow.
        Unavailable: It was made, but MLflow does not show it yet.
    """
    experiment, places = _places(client, run)
    if not (found := _found(client, run.run_id, places)):
        if experiment is None:
            experiment = _make_experiment(client, experiment_name(run.tag), artifact_root)
            places.append(experiment)
        _refuse_deleted_experiment(experiment)
        with late.unless_answered(run):
            made = _make_run(client, run, experiment.experiment_id).info.run_id
        # "There is none" may have come from somebody in between, or an earlier create may have been
        # late: only what is found together with the one just made is the truth.
        found = _found(client, run.run_id, places)
        if made not in [one.info.run_id for one in found]:
            raise Unavailable("MLflow does not find the run that it has just made")
    _delete_empty(client, found[1:])
    return found[0]


def drop_empty_twins(client: MlflowClient, run: RunInfo) -> None:
    """Delete the empty runs of this id beside the one that counts; makes none."""
    _, places = _places(client, run)
    _delete_empty(client, _found(client, run.run_id, places)[1:])


def find(client: MlflowClient, run: RunInfo) -> Run | None:
    """Return what `find_or_make` would find, and change nothing; None where it would make one.

    Raises:
        Refused: The run, or its experiment, was deleted in MLflow.
    """
    _, places = _places(client, run)
    return next(iter(_found(client, run.run_id, places)), None)


def experiment_name(tag: str) -> str:
    """Return the name of the experiment for runs with this tag."""
    if not tag:
        return DEFAULT_EXPERIMENT
    # An experiment's name may hold nearly anything: only what a database refuses is mapped, and
    # what could be taken for a mapped name.
    is_plain = len(tag) <= MAX_NAME and tag.isprintable() and original_name(tag) == tag
    return tag if is_plain else mlflow_name(tag)


def _places(client: MlflowClient, run: RunInfo) -> tuple[Experiment | None, list[Experiment]]:
    """Return the run's own experiment, if there is one, and all that the run may lie in."""
    name = experiment_name(run.tag)
    experiment = client.get_experiment_by_name(name)
    places = [experiment] if experiment else []
    if name != DEFAULT_EXPERIMENT and (
        default := client.get_experiment_by_name(DEFAULT_EXPERIMENT)
    ):
        places.append(default)
    return experiment, places


def _found(client: MlflowClient, run_id: str, places: list[Experiment]) -> list[Run]:
    """Return the runs of this id, the one that counts first."""
    from mlflow.entities import ViewType

    if not places:
        return []
    ids = [place.experiment_id for place in places]
    wanted = f"tags.`{RUN_ID_TAG}` = '{run_id}'"
    found = sorted(client.search_runs(ids, wanted, run_view_type=ViewType.ALL), key=_preference)
    if not found:
        return []
    best = found[0]
    _refuse_deleted_experiment(
        next(place for place in places if place.experiment_id == best.info.experiment_id)
    )
    if best.info.lifecycle_stage != _ACTIVE:
        raise Refused(
            f"the run was deleted in MLflow: bring it back with "
            f"`mlflow runs restore --run-id {best.info.run_id}`, and the rest arrives"
        )
    return found


def _refuse_deleted_experiment(experiment: Experiment) -> None:
    if experiment.lifecycle_stage != _ACTIVE:
        raise Refused(
            f"the experiment {experiment.name!r} was deleted in MLflow: bring it back with "
            f"`mlflow experiments restore --experiment-id {experiment.experiment_id}`"
        )


def _preference(run: Run) -> tuple[bool, int, int, str]:
    """Order runs of the same id: those not deleted first, then that which has most of it."""
    weight = len(run.data.metrics) + len(run.data.params)
    is_deleted = run.info.lifecycle_stage != _ACTIVE
    return is_deleted, -position_in(run.data.tags), -weight, run.info.run_id


def _delete_empty(client: MlflowClient, twins: list[Run]) -> None:
    """Delete what a create call made whose answer came too late for us: a second, empty run."""
    for twin in twins:
        if twin.info.lifecycle_stage == _ACTIVE and not twin.data.metrics and not twin.data.params:
            client.delete_run(twin.info.run_id)


def _make_experiment(client: MlflowClient, name: str, artifact_root: str | None) -> Experiment:
    from mlflow.exceptions import MlflowException

    try:  # runs of all experiments may share a place: each has a folder of its own there
        return client.get_experiment(client.create_experiment(name, artifact_root))
    except MlflowException as error:
        # Another run of the same tag, or another daemon, was first.
        if error.error_code != "RESOURCE_ALREADY_EXISTS":
            raise
        if (made := client.get_experiment_by_name(name)) is None:
            raise
        return made


def _make_run(client: MlflowClient, run: RunInfo, experiment_id: str) -> Run:
    tags = {RUN_ID_TAG: run.run_id}
    if run.tag:
        tags[TAG_TAG], _ = fit(run.tag, MAX_TAG, "the run log")
    return client.create_run(
        experiment_id, start_time=as_ms(run.start_ts), tags=tags, run_name=run.run_id
    )
