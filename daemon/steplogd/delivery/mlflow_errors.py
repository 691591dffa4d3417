"""What MLflow's errors mean for the exporter: call again, or never."""

from __future__ import annotations

import contextlib
from typing import TYPE_CHECKING, Final

from steplogd.delivery.contract import BackendError, Refused, Unavailable
from steplogd.delivery.mlflow_answers import refused_us
from steplogd.delivery.secrets import without_secrets

if TYPE_CHECKING:
    from collections.abc import Iterator

MAX_REASON: Final = 500
"""MLflow's messages quote whole values and SQL statements; a reason keeps their beginning."""

_PREFACE: Final = "(raised as a result of"
"""How SQLAlchemy begins, before it says what happened."""

_CREDENTIALS: Final = {"CUSTOMER_UNAUTHORIZED", "PERMISSION_DENIED", "UNAUTHENTICATED"}

# The store answers BAD_REQUEST for whatever the database says, a full pool and a broken file too.
# Only these mean that the database will never take this very value.
_DATA_FAULTS: Final = ("DataError", "DataRightTruncation", "NumericValueOutOfRange")

# A proxy's limit on one request: halving the batch is exactly what helps.
_TOO_LARGE: Final = "error code 413"

# An artifact store that says no, is not ours to write, or whose package is missing, would hold up
# the run for ever; refused, it costs the one value that does not fit into a param.
_PERMANENT_STATUSES: Final = {400, 404, 405, 413, 414, 422}
_PERMANENT_ERRORS: Final = (ImportError, PermissionError)


@contextlib.contextmanager
def translated(task: str) -> Iterator[None]:
    """Turn what MLflow raises into `Unavailable` or `Refused`; `task` says what it could not do."""
    try:
        yield
    except BackendError:
        raise
    except Exception as error:
        raise meaning(error, task) from error


def meaning(error: Exception, task: str) -> BackendError:
    """Return what an error means; in doubt it is `Unavailable`, because that loses nothing."""
    code = getattr(error, "error_code", "")
    reason = _reason(error)
    message = f"MLflow could not {task}: {reason}"
    if (told := _told_by_transport(error)) is not None:
        message = f"MLflow could not {task}: {told}"
        return Unavailable(message, retry_after_seconds=told.retry_after_seconds)
    if code in _CREDENTIALS:
        return Unavailable(refused_us(reason))
    if is_deleted(error):
        return Unavailable(f"{message} Restore it in MLflow, and all of it arrives.")
    is_permanent = _is_permanent(code, reason) or _is_hopeless(error)
    return Refused(message) if is_permanent else Unavailable(message)


def is_deleted(error: Exception) -> bool:
    """Whether the run, or its experiment, is in MLflow's bin."""
    return "must be in the 'active' state" in str(error)


def is_gone(error: BaseException | None) -> bool:
    """Whether MLflow has never heard of the run: removed for good, or the whole store is new."""
    return getattr(error, "error_code", "") == "RESOURCE_DOES_NOT_EXIST"


def _told_by_transport(error: BaseException) -> Unavailable | None:
    """Return what `mlflow_transport` raised: MLflow's client wraps it, and keeps its text alone."""
    cause: BaseException | None = error
    while cause is not None and not isinstance(cause, Unavailable):
        cause = cause.__cause__ or cause.__context__
    return cause


def _is_permanent(code: str, reason: str) -> bool:
    if code == "INVALID_PARAMETER_VALUE" or _TOO_LARGE in reason:
        return True
    return code == "BAD_REQUEST" and any(fault in reason for fault in _DATA_FAULTS)


def _is_hopeless(error: Exception) -> bool:
    status = getattr(getattr(error, "response", None), "status_code", 0)
    return status in _PERMANENT_STATUSES or isinstance(error, _PERMANENT_ERRORS)


def _reason(error: Exception) -> str:
    lines = [line for line in str(error).splitlines() if line and not line.startswith(_PREFACE)]
    reason = lines[0] if lines else type(error).__name__
    return without_secrets(reason)[:MAX_REASON]  # cut before, half of a secret would be shown
