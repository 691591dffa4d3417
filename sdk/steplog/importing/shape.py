"""The run log of the original (magnus, later runnable) as frozen structs, of any version.

What a version does not write has the default that the original gives it; what is not listed here
is ignored. Versions that kept a parameter with its kind (`{"kind": "json", "value": 1}`) are read
like those that kept the value alone.
"""

from __future__ import annotations

from typing import Any, Final

import msgspec
from msgspec import UNSET, UnsetType

from steplog.errors import SteplogError
from steplog.names import check_run_id

_PARAMETER_KINDS: Final = ("json", "metric", "object")

Map = dict[str, Any]


class RunLogMalformed(SteplogError, ValueError):
    """A run log cannot be imported; the text says what is wrong with it."""


class NoRunLog(RunLogMalformed):
    """It is JSON, but not a run log."""


class CodeIdentity(msgspec.Struct, frozen=True):
    """The identity of the code that ran."""

    code_identifier: str | None = ""
    code_identifier_type: str | None = ""
    code_identifier_dependable: bool | None = False
    code_identifier_url: str | None = ""
    code_identifier_message: str | None = ""


class CatalogEntry(msgspec.Struct, frozen=True):
    """A file that a step put into the catalog, or got from it."""

    name: str
    data_hash: str = ""
    catalog_relative_path: str = ""
    catalog_handler_location: str = ""
    stage: str = ""


class Attempt(msgspec.Struct, frozen=True):
    """An attempt of a step; its times are local and say no zone.

    Attributes:
        parameters: As older versions write them: values by name.
        input_parameters: As newer ones do: with their kinds.
        user_defined_metrics: Likewise of newer versions; older ones keep them with the step.
    """

    start_time: str | None = ""
    end_time: str | None = ""
    status: str = "FAIL"
    message: str | None = ""
    parameters: Map = {}
    input_parameters: Map = {}
    user_defined_metrics: Map = {}
    code_identities: list[CodeIdentity] = []


class Work(msgspec.Struct, frozen=True):
    """What a step and a job have in common."""

    status: str = "FAIL"
    message: str | None = ""
    mock: bool = False
    code_identities: list[CodeIdentity] = []
    attempts: list[Attempt] = []
    user_defined_metrics: Map = {}
    data_catalog: list[CatalogEntry] = []


class Step(Work, frozen=True, kw_only=True):
    """A step of a pipeline, or of a branch."""

    internal_name: str
    step_type: str = "task"
    branches: dict[str, Branch] = {}


class Branch(msgspec.Struct, frozen=True):
    """A branch of a composite step."""

    internal_name: str
    steps: dict[str, Step]


class RunLog(msgspec.Struct, frozen=True):
    """A run; what is UNSET is not in the document."""

    run_id: str
    steps: dict[str, Step]
    status: str = "FAIL"
    tag: str | None = ""
    dag_hash: str | UnsetType | None = UNSET
    use_cached: bool | UnsetType = UNSET
    original_run_id: str | UnsetType | None = UNSET
    job: Work | None = None
    parameters: Map = {}
    run_config: Map = {}


def as_run_log(document: Any) -> RunLog:
    """Return a decoded document as a run log.

    Raises:
        NoRunLog: It has no `run_id`.
        RunLogMalformed: Something in it is of another type than in any run log.
    """
    if not isinstance(document, dict) or "run_id" not in document:
        raise NoRunLog("it is not a run log: it is no JSON object with a run_id")
    try:
        run = msgspec.convert(document, RunLog)
        check_run_id(run.run_id)
    except RecursionError:
        raise RunLogMalformed("it is nested too deeply") from None
    except ValueError as error:  # of another shape, or no run id
        raise RunLogMalformed(str(error)) from error
    return run


def plain(parameters: Map) -> Map:
    """Return the values by name, without their kinds if each has one."""
    if all(_has_kind(parameter) for parameter in parameters.values()):
        return {name: parameter["value"] for name, parameter in parameters.items()}
    return parameters


def _has_kind(parameter: Any) -> bool:
    return (
        isinstance(parameter, dict)
        and parameter.get("kind") in _PARAMETER_KINDS
        and "value" in parameter
    )
