"""How observations become rows of W&B's history, and what W&B should hold of them.

A row is what one line tracked: columns of one task, step and time. W&B's own `_step` is the
position of the last of them in the run log, which only ever grows; the task's step is a column that
`define_metric` makes the x-axis of all others. So steps may come in any order, below zero, and as
large as an int64.

Numbers stand as they are, NaN and infinities too. So do bools and strings. None is the text
"None": W&B shows a null as a value that was never tracked. Lists and dicts are JSON text: W&B would
take a dict apart. What such a column cannot hold, an integer that no double equals or half a
surrogate pair, is exact in a column beside it, as JSON in the run log's own encoding.
"""

from __future__ import annotations

import json
import math
from typing import TYPE_CHECKING, Any, Final, TypeAlias

import msgspec

from steplog.values import nonfinite_name, to_json
from steplogd.delivery.contract import Point
from steplogd.delivery.value_forms import nearest_double, shown
from steplogd.delivery.wandb_names import (
    OWN_PREFIX,
    STEP_COLUMN,
    WHOLE_PREFIX,
    column_name,
    free_name,
)

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping

    from steplogd.delivery.contract import Observation, RunInfo

MAX_EXACT: Final = 2**53
"""Beyond this there are integers that no double equals."""

MICROSECONDS: Final = 1_000_000

Cell: TypeAlias = float | int | str | bool
"""What a column holds, in a form that any encoding takes."""


class Row(msgspec.Struct, array_like=True):
    """One row of the history.

    Attributes:
        position: That of its last observation in the run log.
        step: The task's own step.
        ts: When it was tracked, in microseconds since the epoch.
        cells: Values by the name of their column.
    """

    position: int
    step: int
    ts: int
    cells: dict[str, Cell]


def rows_of(batch: Iterable[Observation], after: int = 0) -> Iterator[Row]:
    """Lay out the observations beyond a position; what is there already makes no row."""
    row, place = None, None
    for seen in batch:
        if seen.position <= after:
            continue
        after = seen.position
        name = column_name(seen.task, seen.key)
        here = (seen.task, seen.attempt, seen.step, seen.ts)
        if row is not None and (here != place or name in row.cells):
            yield row
            row = None
        if row is None:
            row, place = Row(seen.position, seen.step, seen.ts, {}), here
        row.position = seen.position
        _fill(row.cells, name, seen.value)
    if row is not None:
        yield row


def config_of(run: RunInfo) -> dict[str, Any]:
    """Return what W&B's configuration of a run should be."""
    config: dict[str, Any] = {OWN_PREFIX + "run_id": run.run_id}
    if run.tag:
        _fill_config(config, OWN_PREFIX + "tag", run.tag)
    for key, value in run.parameters.items():
        _fill_config(config, free_name(key), value)
    return config


def summary_of(run: RunInfo) -> dict[str, Any]:
    """Return what the summary should say of the run itself."""
    summary: dict[str, Any] = {
        OWN_PREFIX + "status": "KILLED" if run.killed and run.status == "FAIL" else run.status,
        OWN_PREFIX + "start_ts": run.start_ts,
        OWN_PREFIX + "end_ts": None if run.status == "PROCESSING" else run.end_ts,
    }
    _fill(summary, OWN_PREFIX + "message", run.message)
    return summary


def points_of(row: Row) -> Iterator[Point]:
    """Return what a row holds, as points."""
    for name, cell in row.cells.items():
        yield Point("metric", name, row.step, _microseconds(row.ts / MICROSECONDS), cell_text(cell))


def state_points(config: Mapping[str, Any], summary: Mapping[str, Any]) -> Iterator[Point]:
    """Return what the configuration and the summary hold of the run itself, as points."""
    for name, value in config.items():
        if not name.startswith("_"):
            yield Point("parameter", name, value=cell_text(value))
    for name, value in summary.items():
        if name.startswith(OWN_PREFIX):
            yield Point("run", name, value=cell_text(value))


def cell_text(cell: Any) -> str:
    """Return the text of a cell: W&B does not tell 1 from 1.0."""
    if isinstance(cell, (list, dict)):
        return json.dumps(cell, ensure_ascii=False, sort_keys=True)
    if isinstance(cell, float) and not math.isfinite(cell):
        return nonfinite_name(cell)
    if isinstance(cell, (int, float)) and not isinstance(cell, bool):
        is_exact = abs(cell) <= MAX_EXACT and cell == int(cell)
        return str(int(cell) if is_exact else float(cell))
    return str(cell)


def row_from_columns(columns: dict[str, Any]) -> Row | None:
    """Return the row that W&B read back; None for one that is not ours."""
    step = columns.pop(STEP_COLUMN, None)
    if step is None:
        return None
    position, seconds = columns.pop("_step"), columns.pop("_timestamp", 0)
    cells = {name: cell for name, cell in columns.items() if not name.startswith("_")}
    return Row(int(position), int(step), _microseconds(seconds), cells)


def _microseconds(seconds: float) -> int:
    return round(seconds * MICROSECONDS)


def _fill(cells: dict[str, Any], name: str, value: Any) -> None:
    """Set a cell to a value, and the one beside it if the cell cannot hold all of it."""
    if value.__class__ is float or value.__class__ is bool:
        cells[name] = value
        return
    cell = cells[name] = _cell(value)
    if not _is_exact(cell, value):
        cells[WHOLE_PREFIX + name] = to_json({"value": value}).decode()


def _cell(value: Any) -> Cell:
    if isinstance(value, int):
        return value if abs(value) <= MAX_EXACT else nearest_double(value)
    return shown(value).encode("utf-8", "backslashreplace").decode()


def _is_exact(cell: Cell, value: Any) -> bool:
    if not isinstance(value, (list, dict)):
        return value is None or cell == value
    try:
        return cell == json.dumps(value, ensure_ascii=False)
    except ValueError:  # an integer of more digits than Python prints
        return False


def _fill_config(config: dict[str, Any], name: str, value: Any) -> None:
    """Set a parameter; W&B turns NaN into null there, and rounds what no double equals."""
    if _is_plain(value):
        config[name] = value
    else:
        _fill(config, name, shown(value) if isinstance(value, (int, float)) else value)


def _is_text(value: str) -> bool:
    return value.isascii() or value == value.encode("utf-8", "replace").decode()


def _is_plain(value: Any) -> bool:
    """Tell whether W&B's configuration takes a list or a dict as it is."""
    if isinstance(value, dict):
        return all(_is_text(key) and _is_plain(item) for key, item in value.items())
    if isinstance(value, list):
        return all(map(_is_plain, value))
    if isinstance(value, str):
        return _is_text(value)
    if isinstance(value, float):
        return math.isfinite(value)
    return not isinstance(value, int) or abs(value) <= MAX_EXACT
