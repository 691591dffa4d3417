"""One run's counterpart in MLflow: what is logged to it, and how it ends."""

from __future__ import annotations

import contextlib
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import structlog

from steplogd.delivery import mlflow_integers as integers
from steplogd.delivery import mlflow_points as points
from steplogd.delivery.contract import Refused, Unavailable
from steplogd.delivery.mlflow_entities import (
    MAX_TAG,
    Layout,
    Names,
    conflict,
    fit,
    keep_name,
    lay_out,
    lay_out_parameters,
    param_calls,
)
from steplogd.delivery.mlflow_errors import is_gone, translated
from steplogd.delivery.mlflow_metrics import digest, encoded, request_metrics
from steplogd.delivery.mlflow_points import DOCUMENTS, DOCUMENTS_TAG, MESSAGE_TAG, final_state
from steplogd.delivery.mlflow_proof import Owed, mark, mark_name, position_in, prove
from steplogd.delivery.secrets import without_credentials

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

    from mlflow.entities import Run
    from mlflow.tracking import MlflowClient

    from steplogd.delivery.contract import Observation, Point, RunInfo
    from steplogd.delivery.mlflow_metrics import Sample

METRICS_PER_CALL: Final = 999
"""What MLflow takes in one `log_batch`: 1,000 items in all, and a mark goes with the metrics."""

MAX_NAMES_SAID: Final = 10
"""How many changed names one line of the log shows; MLflow has them all."""

_log = structlog.get_logger()


class MlflowSession:
    """The connection to one MLflow run, which is made again should MLflow lose it."""

    merges_equal_points: Final = True  # by the primary key of a metric's table

    def __init__(
        self,
        client: MlflowClient,
        run: RunInfo,
        find: Callable[[RunInfo], Run],
        *,
        is_remote: bool = False,
    ) -> None:
        self._client = client
        self._run = run
        self._find = find
        self._is_remote = is_remote  # else its word is enough: it is MLflow itself, in our process
        self._names = Names()
        self._expected_names = Names()  # apart: it forgets which were changed once they are told
        self._owed = Owed()
        self._found: Run | None = find(run)

    @property
    def counterpart(self) -> dict[str, str]:
        """Where a task's own client finds the run; see `mlflow_client`."""
        if self._found is None:
            return {}
        info = self._found.info
        uri = without_credentials(self._client.tracking_uri)
        return {"tracking_uri": uri, "run_id": info.run_id, "experiment_id": info.experiment_id}

    def send(self, batch: Sequence[Observation]) -> None:
        """Log a batch; what would change a param is refused, after all the others are logged."""
        layout = lay_out(batch, self._names)
        with self._reaching("take the values") as mlflow_id:
            self._log(mlflow_id, layout, batch[-1].position if batch else 0)
            self._prove(mlflow_id)
        self._say_changed_names()
        _refuse(layout.conflicts)

    def settle(self, run: RunInfo) -> None:
        """Log parameters, message and status; a changed parameter is refused after all the rest."""
        self._run = run
        layout = lay_out_parameters(run.parameters, self._names)
        with self._reaching("take the run's end") as mlflow_id:
            self._log(mlflow_id, layout)
            self._tag(mlflow_id, MESSAGE_TAG, fit(run.message, MAX_TAG, "the run log")[0])
            self._log_status(mlflow_id, run)
            self._prove(mlflow_id)
            if self._is_remote and run.status != "PROCESSING":
                self._refuse_another_run(mlflow_id)
        self._say_changed_names()
        _refuse(layout.conflicts)

    def expected(self, batch: Sequence[Observation]) -> Iterator[Point]:
        """Say what MLflow should hold of these observations."""
        return points.of_observations(batch, self._expected_names)

    def expected_state(self, run: RunInfo) -> Iterator[Point]:
        """Say what MLflow should hold of the run itself."""
        return points.of_state(run, self._expected_names)

    def held(self) -> Iterator[Point]:
        """Read back metrics, params, tags and documents, a page of a metric's history at a time."""
        with self._reaching("give back what it holds") as mlflow_id:
            yield from points.held(self._client, mlflow_id)

    def close(self) -> None:
        """Do nothing: a run holds no resources."""

    @contextlib.contextmanager
    def _reaching(self, task: str) -> Iterator[str]:
        """Translate errors, and find the run again after MLflow lost it."""
        with translated(task):
            if self._found is None:
                self._found = self._find(self._run)
            try:
                yield self._found.info.run_id
            except Exception as error:
                # Who knows what it has by now: it is looked at afresh.
                self._found, self._owed = None, Owed()
                if not is_gone(error):
                    raise
                self._names = Names()
                raise Unavailable(
                    "MLflow has lost the run; a new one takes what follows, and "
                    "`steplogd replay` sends what it held"
                ) from error

    def _log(self, mlflow_id: str, layout: Layout, position: int = 0) -> None:
        self._keep_cut_names(mlflow_id, layout)
        self._log_metrics(mlflow_id, layout.metrics, position)
        taken = self._log_params(mlflow_id, layout)
        self._owed.params |= {name: layout.params[name] for name in taken}
        documents = layout.documents | layout.documents_of(taken)
        if layout.integers:
            path, content = integers.document_of(layout.integers)
            documents[path] = content
        self._upload(mlflow_id, documents)

    def _log_metrics(self, mlflow_id: str, metrics: list[Sample], position: int) -> None:
        calls = [
            metrics[start : start + METRICS_PER_CALL]
            for start in range(0, len(metrics), METRICS_PER_CALL)
        ]
        if self._is_remote:
            self._request_metrics(mlflow_id, calls, position)
            return
        client: Any = self._client  # it says that it takes its own metrics alone
        for call in calls:
            client.log_batch(mlflow_id, metrics=call, synchronous=True)

    def _request_metrics(self, mlflow_id: str, calls: list[list[Sample]], position: int) -> None:
        """Ask a server to log metrics, each call with a mark that is owed from then on."""
        tags = self._found.data.tags if self._found else {}
        position = max(position, position_in(tags))
        for following, call in zip(reversed(range(len(calls))), calls, strict=True):
            name = mark_name(following)
            if name in self._owed.tags:
                self._prove(mlflow_id)  # the next mark takes the place of the one before
            metrics = encoded(call)
            self._owed.tags[name] = text = mark(position, digest(metrics))
            request_metrics(self._client, mlflow_id, metrics, {name: text})

    def _prove(self, mlflow_id: str) -> None:
        """Make sure that a server has what it said it took."""
        owed, self._owed = self._owed, Owed()
        if self._is_remote and owed:
            self._found = prove(self._client, mlflow_id, owed)

    def _keep_cut_names(self, mlflow_id: str, layout: Layout) -> None:
        from mlflow.entities import RunTag

        changed = self._names.changed.items()
        tags = dict(tag for name, mapped in changed if (tag := keep_name(name, mapped, layout)))
        self._owed.tags |= tags
        marks = [RunTag(*tag) for tag in tags.items()]
        self._client.log_batch(mlflow_id, tags=marks, synchronous=True)

    def _say_changed_names(self) -> None:
        """Say it once, and not before MLflow has all that it takes to undo them."""
        changed = self._names.changed
        if not changed:
            return
        said = {name[:80]: mapped for name, mapped in list(changed.items())[:MAX_NAMES_SAID]}
        _log.warning(
            "names changed for mlflow", run=self._run.run_id, count=len(changed), names=said
        )
        changed.clear()

    def _log_params(self, mlflow_id: str, layout: Layout) -> set[str]:
        """Log what can be logged, note what cannot among the conflicts; return what was taken."""
        taken: set[str] = set()
        for params in param_calls(layout.params):
            refused = self._log_some_params(mlflow_id, params)
            layout.conflicts += refused.values()
            taken |= params.keys() - refused.keys()
        return taken

    def _log_some_params(self, mlflow_id: str, params: dict[str, str]) -> dict[str, str]:
        """Return the reasons for those that exist with another value, by name."""
        from mlflow.entities import Param
        from mlflow.exceptions import MlflowException

        def log(names: list[str]) -> None:
            some = [Param(name, params[name]) for name in names]
            self._client.log_batch(mlflow_id, params=some, synchronous=True)

        try:
            log(list(params))
        except MlflowException as error:
            if error.error_code != "INVALID_PARAMETER_VALUE":
                raise
            known = self._client.get_run(mlflow_id).data.params
            old = {
                name: known[name]
                for name in params
                if known.get(name, params[name]) != params[name]
            }
            if not old:
                raise
            log([name for name in params if name not in old])
            return {name: conflict(name, was, params[name]) for name, was in old.items()}
        return {}

    def _download(self, mlflow_id: str, path: str) -> bytes:
        with tempfile.TemporaryDirectory(prefix="steplog-") as folder:
            return Path(self._client.download_artifacts(mlflow_id, path, folder)).read_bytes()

    def _upload(self, mlflow_id: str, documents: dict[str, bytes]) -> None:
        if not documents:
            return
        with tempfile.TemporaryDirectory(prefix="steplog-") as folder:
            for path, content in documents.items():
                file = Path(folder, path)
                file.parent.mkdir(parents=True, exist_ok=True)
                file.write_bytes(content)
            self._client.log_artifacts(mlflow_id, folder)
        self._prove_documents(mlflow_id, documents)
        self._tag(mlflow_id, DOCUMENTS_TAG, DOCUMENTS)

    def _prove_documents(self, mlflow_id: str, documents: dict[str, bytes]) -> None:
        """Make sure that a server has them: to an upload it says nothing, as anybody may."""
        if not self._is_remote:
            return
        for path, content in documents.items():
            if self._download(mlflow_id, path) != content:
                raise Unavailable(f"it said yes to a document that it does not have: {path}")

    def _tag(self, mlflow_id: str, name: str, text: str) -> None:
        """Set a tag of the run, unless it says so already."""
        tags = self._found.data.tags if self._found else {}
        if text != tags.get(name, ""):
            self._client.set_tag(mlflow_id, name, text, synchronous=True)
            self._owed.tags[name] = tags[name] = text

    def _log_status(self, mlflow_id: str, run: RunInfo) -> None:
        status, end_ms = final_state(run)
        if end_ms is not None:
            self._client.set_terminated(mlflow_id, status, end_ms)
        elif self._found is None or self._found.info.status != status:
            # Only where it says otherwise: late, this call would lie over the run's end. MLflow
            # cannot take an end time back; the status alone says that the run goes on.
            self._client.update_run(mlflow_id, status=status)
        else:
            return
        self._owed.state = (status, end_ms)
        if not self._is_remote and self._found is not None:
            self._found = self._client.get_run(mlflow_id)

    def _refuse_another_run(self, mlflow_id: str) -> None:
        """Look once more whether the run is one: a create that was given up may have come late."""
        if self._find(self._run).info.run_id != mlflow_id:
            raise Unavailable("another MLflow run stands for the run by now")


def _refuse(conflicts: list[str]) -> None:
    if conflicts:
        raise Refused("; ".join(conflicts))
