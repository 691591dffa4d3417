"""The daemon's log: fields in the journal, readable on a terminal, else one JSON object a line."""

from __future__ import annotations

import atexit
import contextlib
import json
import logging
import sys
import threading
from typing import TYPE_CHECKING, Any, Final, TextIO

import structlog

from steplog.cli.terminal import sanitise
from steplogd.delivery.secrets import masking
from steplogd.logs.journal import SOCKET, Journal, NotReading, is_journal
from steplogd.logs.journal_entry import entry
from steplogd.logs.log_kinds import kind_of, priority
from steplogd.logs.log_limit import LogLimit

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from structlog.typing import Processor

MOST_CHARACTERS: Final = 32 * 1024
"""Of one text: a tracker may answer with megabytes, and nobody reads them."""

_OUR_WORDS: Final = ("event", "level", "timestamp", "backend")
"""What lines are asked for by: it holds no secret, though a password may be the same word."""

LOST: Final = "lines are lost as the journal did not read"


def set_up_log(level: int = logging.INFO, *, journal_socket: str = SOCKET) -> None:
    """Send the log, from a level on, to the journal where standard error is connected to it.

    Else, and where the journal cannot be reached, to standard error.
    """
    limit = LogLimit(_say)
    last, logger = _output(journal_socket)
    structlog.configure(
        processors=[
            structlog.contextvars.merge_contextvars,
            limit,
            structlog.processors.add_log_level,
            structlog.processors.TimeStamper(fmt="iso", utc=not sys.stderr.isatty()),
            _without_none,
            _without_secrets,
            *last,
        ],
        wrapper_class=structlog.make_filtering_bound_logger(level),
        logger_factory=lambda *_: logger,
        cache_logger_on_first_use=False,
    )
    atexit.register(limit.flush)


def _output(journal_socket: str) -> tuple[list[Processor], Any]:
    """Return what a line becomes at last, and the logger that writes it."""
    stderr = _Lenient(sys.stderr)
    if is_journal(sys.stderr):
        return [_as_argument], _JournalLogger(Journal(journal_socket), stderr)
    to_stderr = structlog.WriteLogger(stderr)  # type: ignore[arg-type]
    if sys.stderr.isatty():
        return [_printable, structlog.dev.ConsoleRenderer()], to_stderr
    return [structlog.processors.JSONRenderer(ensure_ascii=True)], to_stderr


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


class _JournalLogger:
    """Gives lines to the journal; where its socket is out of reach, by standard error.

    There it finds the priority before each, as sd-daemon(3) has it. While it reads nothing, lines
    are lost and counted: standard error would make the daemon wait for it.
    """

    def __init__(self, journal: Journal, stderr: _Lenient) -> None:
        self._journal = journal
        self._stderr = stderr
        self._lost = 0
        self._counting = threading.Lock()  # any thread may log

    def msg(self, told: Mapping[str, Any]) -> None:
        """Write one line."""
        if not self._is_sent(told, 1, is_patient=True):
            return
        with self._counting:
            lost, self._lost = self._lost, 0
        if lost:
            about_lost = {"event": LOST, "level": "warning", "count": lost}
            self._is_sent(about_lost, lost, is_patient=False)

    def _is_sent(self, told: Mapping[str, Any], lines: int, *, is_patient: bool) -> bool:
        """Send a line, and tell whether the journal has it; as many as that are lost without it."""
        try:
            self._journal.send(entry(told), is_patient=is_patient)
        except NotReading:
            with self._counting:
                self._lost += lines
        except OSError:
            urgency = priority(kind_of(str(told["event"])), str(told["level"]))
            self._stderr.write(f"<{urgency}>{json.dumps(told)}\n")
            self._stderr.flush()
        else:
            return True
        return False

    debug = info = warning = error = critical = exception = log = msg


def _say(level: str, event: str, **about: Any) -> None:
    getattr(structlog.get_logger(), level)(event, **about)


def _as_argument(
    _: structlog.typing.WrappedLogger, __: str, event: structlog.typing.EventDict
) -> tuple[tuple[structlog.typing.EventDict], dict[str, Any]]:
    return (event,), {}


def _without_none(
    _: structlog.typing.WrappedLogger, __: str, event: structlog.typing.EventDict
) -> structlog.typing.EventDict:
    return {key: value for key, value in event.items() if value is not None}


def _without_secrets(
    _: structlog.typing.WrappedLogger, __: str, event: structlog.typing.EventDict
) -> structlog.typing.EventDict:
    masked = masking()

    def safe_and_short(text: str) -> str:
        safe = masked(text)  # before it is cut: half of a secret would not be known any more
        return safe if len(safe) <= MOST_CHARACTERS else f"{safe[:MOST_CHARACTERS]}…"

    return {
        key: value if key in _OUR_WORDS else _texts(value, safe_and_short)
        for key, value in event.items()
    }


def _printable(
    _: structlog.typing.WrappedLogger, __: str, event: structlog.typing.EventDict
) -> structlog.typing.EventDict:
    """Keep what a tracker, a file name or a line said from steering the terminal."""
    return {key: _texts(value, sanitise) for key, value in event.items()}


def _texts(value: Any, change: Callable[[str], str]) -> Any:
    """Change a text, and each in a list or a map; whatever else there is becomes its `repr`."""
    if isinstance(value, str):
        return change(value)
    if isinstance(value, (list, tuple)):
        return [_texts(item, change) for item in value]
    if isinstance(value, dict):
        return {change(str(key)): _texts(item, change) for key, item in value.items()}
    return value if value is None or isinstance(value, (int, float)) else change(repr(value))
