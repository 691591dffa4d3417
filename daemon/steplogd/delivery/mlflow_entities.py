"""How values are laid out in MLflow: as metrics, as params, and as documents for the rest.

A number is a point of a metric, with its own step and time. MLflow keeps doubles: an integer that
no double equals is whole in a document beside, and NaN stays NaN; but MLflow shows an infinity as
±1.797e308, the largest double, and nothing beside says otherwise, because a training that diverges
would leave as much again for each of its steps. The run log has the infinity.

Anything else is a param named `key_step`, and whole in a document if no param can hold it. All
outermost tasks and all attempts share that name, and MLflow never changes a param: the first value
stays, an equal one is the same again, and any other is refused. Numbers share a metric likewise,
where each has a point of its own.
"""

from __future__ import annotations

import hashlib
from typing import TYPE_CHECKING, Any, Final

from steplog.values import to_json
from steplogd.delivery.mlflow_metrics import Sample
from steplogd.delivery.mlflow_names import (
    MAX_NAME,
    MAX_STEM,
    digest_in,
    file_name,
    mlflow_name,
    param_name,
)
from steplogd.delivery.naming import full_name
from steplogd.delivery.value_forms import nearest_double, shown

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    from steplogd.delivery.contract import Observation

MAX_PARAM: Final = 6000
"""The most characters in the value of a param; MLflow cuts what is longer, without a word."""

MAX_TAG: Final = 8000
"""The same for a tag."""

PARAMS_PER_CALL: Final = 100
"""How many params MLflow takes in one `log_batch`."""

PARAM_CHARACTERS_PER_CALL: Final = 75_000
"""Keeps a call below 1 MB, a proxy's usual limit, when each character takes 12 bytes as JSON."""

NAME_TAG_PREFIX: Final = "steplog.name."
"""Before the digest of a name that was cut, in the tag that holds the whole name."""

MAX_CACHED_NAMES: Final = 10_000
"""A task that makes up a new key at each step shall not fill our memory."""


class Names:
    """The names of one run's keys in MLflow, and those that had to be changed.

    Attributes:
        changed: What became of which key, since somebody last emptied it.
    """

    def __init__(self) -> None:
        self.changed: dict[str, str] = {}
        self._known: dict[tuple[tuple[str, ...], str, int], str] = {}

    def of(self, task: tuple[str, ...], key: str, limit: int = MAX_NAME) -> str:
        """Return the MLflow name of a key, of at most `limit` characters."""
        known = self._known.get((task, key, limit))
        return self._new(task, key, limit) if known is None else known

    def _new(self, task: tuple[str, ...], key: str, limit: int) -> str:
        if len(self._known) >= MAX_CACHED_NAMES:
            self._known.clear()
        name = full_name(task, key)
        mapped = self._known[task, key, limit] = mlflow_name(name, limit)
        if mapped != name:
            self.changed[name] = mapped
        return mapped


class Layout:
    """What to log for one batch.

    Attributes:
        metrics: In the order of the batch.
        params: Values by name; the first one wins where a batch has two.
        documents: Contents by path below the run's artifacts.
        integers: Observations that metrics cannot hold whole.
        param_documents: The path and contents for what a param cannot hold, by its name.
        conflicts: One sentence for each value whose param has another one already.
    """

    def __init__(self) -> None:
        self.metrics: list[Sample] = []
        self.params: dict[str, str] = {}
        self.documents: dict[str, bytes] = {}
        self.integers: list[Observation] = []
        self.param_documents: dict[str, tuple[str, bytes]] = {}
        self.conflicts: list[str] = []

    def add_param(self, name: str, value: Any, path: str, document: dict[str, Any]) -> None:
        """Add a param, and a document at this path if the param cannot hold all of the value."""
        text, is_whole = fit(shown(value), MAX_PARAM, path)
        if self.params.setdefault(name, text) != text:
            self.conflicts.append(conflict(name, self.params[name], text))
        elif not is_whole:
            self.param_documents[name] = (path, to_json(document))

    def documents_of(self, params: set[str]) -> dict[str, bytes]:
        """Return the documents that complete these params, by path."""
        return dict(kept for name, kept in self.param_documents.items() if name in params)


def lay_out(batch: Iterable[Observation], names: Names) -> Layout:
    """Sort observations into what MLflow has for them."""
    layout = Layout()
    add = layout.metrics.append
    for seen in batch:
        value = seen.value
        if value.__class__ is float:  # nearly all; the rest of this module is for the others
            add(Sample(names.of(seen.task, seen.key), value, seen.ts // 1000, seen.step))
        elif value.__class__ is int:
            number = nearest_double(value)
            if number != value:
                layout.integers.append(seen)
            add(Sample(names.of(seen.task, seen.key), number, seen.ts // 1000, seen.step))
        else:
            name = param_name(names.of(seen.task, seen.key, MAX_STEM), seen.step)
            layout.add_param(name, value, document_path("values", name), _document(seen))
    return layout


def lay_out_parameters(parameters: dict[str, Any], names: Names) -> Layout:
    """Sort a run's parameters into what MLflow has for them."""
    layout = Layout()
    for key, value in parameters.items():
        name = names.of((), key)
        document = {"key": key, "value": value}
        layout.add_param(name, value, document_path("parameters", name), document)
    return layout


def param_calls(params: dict[str, str]) -> Iterator[dict[str, str]]:
    """Cut params into what one call takes."""
    call: dict[str, str] = {}
    characters = 0
    for name, value in params.items():
        if len(call) == PARAMS_PER_CALL or (call and characters > PARAM_CHARACTERS_PER_CALL):
            yield call
            call, characters = {}, 0
        call[name] = value
        characters += len(name) + len(value)
    if call:
        yield call


def keep_name(name: str, mapped: str, layout: Layout) -> tuple[str, str] | None:
    """Return the tag, and add the document if need be, that keeps the whole of a cut name."""
    digest = digest_in(mapped)
    if digest is None:
        return None
    path = document_path("names", digest)
    text, is_whole = fit(name, MAX_TAG, path)
    if not is_whole:
        layout.documents[path] = to_json({"name": name, "mlflow_name": mapped})
    return f"{NAME_TAG_PREFIX}{digest}", text


def fit(text: str, limit: int, path: str) -> tuple[str, bool]:
    """Return a text as MLflow and its databases take it, and whether that is all of it.

    What is not all of it ends in a mark with the length, a digest, and the path of the document
    that is whole; the digest keeps two long texts apart that begin alike.
    """
    # PostgreSQL takes no NUL, and nothing takes half a surrogate pair.
    clean = text.encode("utf-8", "backslashreplace").decode().replace("\0", "\\x00")
    if clean == text and len(text) <= limit:
        return text, True
    digest = hashlib.sha256(text.encode("utf-8", "surrogatepass")).hexdigest()[:16]
    mark = f"… [steplog: {len(text)} characters, sha256 {digest}, whole in {path}]"
    return clean[: limit - len(mark)] + mark, False


def document_path(folder: str, name: str) -> str:
    """Return where the whole of what an MLflow name holds lies among the run's artifacts."""
    return f"steplog/{folder}/{file_name(name)}.json"


def conflict(name: str, old: str, new: str) -> str:
    """Say that a param cannot be changed."""
    return f"param {name!r} is {old[:60]!r} and cannot be changed to {new[:60]!r}"


def _document(seen: Observation) -> dict[str, Any]:
    names = {"task": list(seen.task), "key": seen.key}
    return {**names, "step": seen.step, "ts": seen.ts, "value": seen.value}
