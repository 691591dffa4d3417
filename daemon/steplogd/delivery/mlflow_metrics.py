"""How metrics reach MLflow: as the JSON of a request that is encoded once, or through its client.

To a server MLflow's client makes of each metric an entity, a message of protobuf, a text, an object
and a text again. Nearly all of our processor time went there.
"""

from __future__ import annotations

import hashlib
import math
from typing import TYPE_CHECKING, Any, Final

import msgspec

from steplog.values import nonfinite_name

if TYPE_CHECKING:
    from collections.abc import Sequence

    from mlflow.tracking import MlflowClient

_LOG_BATCH: Final = "/api/2.0/mlflow/runs/log-batch"
_HEADERS: Final = {"Content-Type": "application/json"}
_encode: Final = msgspec.json.Encoder().encode


class Sample(msgspec.Struct, frozen=True, omit_defaults=True):
    """A point of a metric, which both the JSON of a request and MLflow's client take as it is.

    Attributes:
        key: The metric's name.
        value: Any double.
        timestamp: Milliseconds since the epoch.
        step: An int64.
        dataset_name: This and what follows is what MLflow's client reads of a metric besides.
    """

    key: str
    value: float
    timestamp: int
    step: int
    dataset_name: None = None
    dataset_digest: None = None
    model_id: None = None
    run_id: None = None


class _Tag(msgspec.Struct, frozen=True):
    key: str
    value: str


class _LogBatch(msgspec.Struct, frozen=True):
    run_id: str
    metrics: msgspec.Raw
    tags: list[_Tag]


def encoded(samples: Sequence[Sample]) -> bytes:
    """Return the JSON of some samples; it follows from them."""
    return _encode([seen if math.isfinite(seen.value) else _named(seen) for seen in samples])


def digest(metrics: bytes) -> str:
    """Return what tells these from other metrics."""
    return hashlib.sha256(metrics).hexdigest()[:16]


def request_metrics(
    client: MlflowClient, mlflow_id: str, metrics: bytes, tags: dict[str, str]
) -> None:
    """Ask a server to log encoded metrics, and tags after them, as `log_batch` would.

    Raises:
        mlflow.exceptions.MlflowException: As there.
    """
    import mlflow.utils.rest_utils

    rest: Any = mlflow.utils.rest_utils  # it travels as all requests do; see `mlflow_transport`
    store: Any = client._tracking_client.store
    marks = [_Tag(*tag) for tag in tags.items()]
    body = _encode(_LogBatch(mlflow_id, msgspec.Raw(metrics), marks))
    creds = store.get_host_creds()
    rest.http_request_safe(creds, _LOG_BATCH, "POST", data=body, extra_headers=_HEADERS)


def _named(seen: Sample) -> dict[str, Any]:
    """Write a number that JSON has not as MLflow reads it; bare, it would end the batch there."""
    number = {"key": seen.key, "value": nonfinite_name(seen.value)}
    return {**number, "timestamp": seen.timestamp, "step": seen.step}
