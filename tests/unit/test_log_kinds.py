"""The kinds of lines: every one that the daemon logs has a short id of its own."""

from __future__ import annotations

import ast
from pathlib import Path

from steplogd.logs.log_kinds import NOTICES, SHORT, kind_of, message_id, priority

_SOURCES = Path(__file__).parents[2] / "daemon" / "steplogd"
_LONGEST = 32


def logged() -> set[str]:
    """Return the texts that the daemon logs, as they stand in its source."""
    found = set()
    for path in _SOURCES.rglob("*.py"):
        for node in ast.walk(ast.parse(path.read_text("utf-8"))):
            if isinstance(node, ast.Call) and _is_log(node.func) and node.args:
                text = node.args[0]
                if isinstance(text, ast.Constant):
                    found.add(str(text.value))
    return found


def _is_log(function: ast.expr) -> bool:
    return (
        isinstance(function, ast.Attribute)
        and isinstance(function.value, ast.Name)
        and function.value.id == "_log"
        and function.attr in ("debug", "info", "warning", "error")
    )


def test_every_line_has_a_short_id() -> None:
    """One that says much stands in the table; else its id would change with its words."""
    of_structlog = {text for text in logged() if "%" not in text}
    long = {text for text in of_structlog if len(kind_of(text)) > _LONGEST}

    assert {"run ended", "dead letter"} <= of_structlog
    assert long == set()


def test_no_two_lines_share_an_id() -> None:
    """Nor a message id."""
    texts = logged() | set(SHORT)

    assert len({message_id(kind_of(text)) for text in texts}) == len(texts)


def test_a_notice_is_less_than_a_warning_and_never_hides_an_error() -> None:
    """Whatever level it was logged at."""
    assert {"serving", "stopped"} <= NOTICES
    assert [priority("serving", level) for level in ("info", "warning", "error")] == [5, 4, 3]
