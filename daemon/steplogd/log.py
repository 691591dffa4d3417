"""The daemon's log: readable on a terminal, one JSON object a line otherwise."""

from __future__ import annotations

import contextlib
import logging
import sys
from typing import TYPE_CHECKING, Any, TextIO

import structlog

from steplog.cli.terminal import sanitise
from steplogd.delivery.secrets import without_secrets

if TYPE_CHECKING:
    from collections.abc import Callable


def set_up_log(level: int = logging.INFO) -> None:
    """Send the log to standard error, from a level on."""
    on_terminal = sys.stderr.isatty()
    structlog.configure(
        processors=[
            structlog.processors.add_log_level,
            structlog.processors.TimeStamper(fmt="iso", utc=not on_terminal),
            _without_none,
            _without_secrets,
            *(
                [_printable, structlog.dev.ConsoleRenderer()]
                if on_terminal
                else [structlog.processors.JSONRenderer(ensure_ascii=True)]
            ),
        ],
        wrapper_class=structlog.make_filtering_bound_logger(level),
        logger_factory=structlog.WriteLoggerFactory(_Lenient(sys.stderr)),  # type: ignore[arg-type]
        cache_logger_on_first_use=False,
    )


class _Lenient:
    """A stream whose disk may be full, or its reader gone: it costs lines, not the daemon."""

    def __init__(self, stream: TextIO) -> None:
        self._stream = stream

    def write(self, text: str) -> None:
        """Write what can be written."""
        with contextlib.suppress(OSError, ValueError):
            self._stream.write(text)

    def flush(self) -> None:
        """Flush what can be flushed."""
        with contextlib.suppress(OSError, ValueError):
            self._stream.flush()


def _without_none(
    _: structlog.typing.WrappedLogger, __: str, event: structlog.typing.EventDict
) -> structlog.typing.EventDict:
    return {key: value for key, value in event.items() if value is not None}


def _without_secrets(
    _: structlog.typing.WrappedLogger, __: str, event: structlog.typing.EventDict
) -> structlog.typing.EventDict:
    return {key: _texts(value, without_secrets) for key, value in event.items()}


def _printable(
    _: structlog.typing.WrappedLogger, __: str, event: structlog.typing.EventDict
) -> structlog.typing.EventDict:
    """Keep what a tracker, a file name or a line said from steering the terminal."""
    return {key: _texts(value, sanitise) for key, value in event.items()}


def _texts(value: Any, change: Callable[[str], str]) -> Any:
    """Change a text, or each in a list; whatever else there is has its own `repr`."""
    if isinstance(value, list):
        return [_texts(item, change) for item in value]
    return change(value) if isinstance(value, str) else value
