"""`steplog tail`: prints the lines of a spool, and goes on as it grows."""

from __future__ import annotations

import contextlib
import os
import stat
import sys
import time
from typing import TYPE_CHECKING, Final

from steplog.cli.archived import where_it_went
from steplog.cli.arguments import CommandParser, home, natural, run_id
from steplog.cli.event_text import describe
from steplog.cli.terminal import is_coloured, sanitise
from steplog.decoding import complete, decode
from steplog.errors import RunNotFound, SteplogError
from steplog.events import MAX_LINE_BYTES
from steplog.home import is_taken, spool_folder
from steplog.spool import stand_ins

if TYPE_CHECKING:
    import argparse
    from collections.abc import Callable, Iterator, Sequence
    from pathlib import Path


POLL_SECONDS: Final = 0.1
CHUNK_BYTES: Final = 64 * 1024

LONGEST_PIECE_BYTES: Final = 4 * MAX_LINE_BYTES
"""What has no LF for so long is no line; it is shown as it is, so that memory stays bounded."""

_SUFFIX: Final = ".jsonl"

_EXAMPLE: Final = """\
Times are UTC. Lines that are no event are shown as such.

example:
  steplog tail my-run -n 100
  steplog tail --raw --no-follow | jq -c .values"""


def run(argv: Sequence[str]) -> int:
    """Print until interrupted, or to the end of the spool with --no-follow."""
    arguments = _parser().parse_intermixed_args(argv)
    is_following = not arguments.no_follow
    path = _find(home(), arguments.run, is_following)
    fd = _open(path)
    print_lines = _printer(is_raw=arguments.raw)
    try:
        offset = start_of_last(fd, arguments.n)
        for start, lines in whole_lines(fd, offset, is_following):
            print_lines(lines, start)
            sys.stdout.flush()
    finally:
        os.close(fd)
    return 0


def start_of_last(fd: int, count: int) -> int:
    """Return where the last `count` whole lines of a file begin, reading from its end."""
    end = os.fstat(fd).st_size
    missing = count + 1  # the LF of the line before the first that is wanted
    while end > 0:
        start = max(0, end - CHUNK_BYTES)
        chunk = os.pread(fd, end - start, start)
        found = chunk.count(b"\n")
        if found >= missing:
            return start + _nth_from_end(chunk, missing) + 1
        missing -= found
        end = start
    return 0


def _nth_from_end(chunk: bytes, count: int) -> int:
    """Return where the LF stands that has `count - 1` others behind it."""
    at = len(chunk)
    for _ in range(count):
        at = chunk.rfind(b"\n", 0, at)
    return at


def whole_lines(fd: int, offset: int, is_following: bool) -> Iterator[tuple[int, bytes]]:
    """Yield whole lines, some at a time, with where they begin; forever when following."""
    rest = b""
    position = offset
    while True:
        chunk = os.pread(fd, CHUNK_BYTES, position)
        position += len(chunk)
        rest += chunk
        end = complete(rest) or (len(rest) if len(rest) > LONGEST_PIECE_BYTES else 0)
        if end:
            yield offset, rest[:end]
            offset, rest = offset + end, rest[end:]
        if not chunk:
            if not is_following:
                return
            time.sleep(POLL_SECONDS)


def _parser() -> argparse.ArgumentParser:
    parser = CommandParser("steplog tail", "Read the spool of a run as it grows.", _EXAMPLE)
    parser.add_argument(
        "run", nargs="?", type=run_id, metavar="RUN", help="the run (the last one appended to)"
    )
    parser.add_argument("-n", type=natural, default=10, metavar="N", help="begin N lines back (10)")
    parser.add_argument("--no-follow", action="store_true", help="stop at the end of the spool")
    parser.add_argument(
        "--raw",
        action="store_true",
        help="print the lines as they are, but for what would steer a terminal",
    )
    return parser


def _find(home: Path, run: str | None, is_following: bool) -> Path:
    """Return the spool to read; wait for it when following, but not for one that went away.

    Raises:
        RunNotFound: There is none.
        SteplogError: Several users share the home, and no run was named.
    """
    folder, is_told = spool_folder(home), False
    while True:
        path = _spool_of(folder, run) if run else _latest(folder)
        if path is not None:
            return path
        if run and not is_told and (where := where_it_went(home, run)):
            raise RunNotFound(sanitise(where))
        what = sanitise(
            f"no spool of run {run} is in {folder}" if run else f"no spool is in {folder}"
        )
        if not is_following:
            raise RunNotFound(f"{what}; track something first, or wait for it without --no-follow")
        if not is_told:
            sys.stderr.write(f"steplog: {what} yet; waiting for it\n")
            is_told = True
        time.sleep(POLL_SECONDS)


def _spool_of(folder: Path, run: str) -> Path | None:
    """Return the spool of a run, or ours that stands in for it where that is another user's."""
    path = folder / f"{run}{_SUFFIX}"
    if is_taken(path):
        _, stand_in, *_ = stand_ins(run)
        own = folder / f"{stand_in}{_SUFFIX}"
        if own.exists() and not is_taken(own):
            sys.stderr.write(f"steplog: run {run} is another user's; this is run {stand_in}\n")
            return own
    return path if os.path.lexists(path) else None


def _latest(folder: Path) -> Path | None:
    """Return the spool that was appended to last.

    Raises:
        SteplogError: Several users share the home, and none of them sees what the others have.
    """
    try:
        return max(_spools(folder), default=(0, None))[1]
    except FileNotFoundError:
        return None
    except PermissionError:
        raise SteplogError(
            f"the spools in {folder} are not for this user to list; name a run: `steplog tail RUN`"
        ) from None


def _spools(folder: Path) -> Iterator[tuple[int, Path]]:
    for path in folder.iterdir():
        if path.name.endswith(_SUFFIX):
            with contextlib.suppress(FileNotFoundError):  # gone since
                status = path.lstat()
                if stat.S_ISREG(status.st_mode):
                    yield status.st_mtime_ns, path


def _open(path: Path) -> int:
    """Open a spool to read it.

    Raises:
        SteplogError: Something else lies there.
        OSError: It cannot be read.
    """
    flags = os.O_RDONLY | os.O_CLOEXEC | os.O_NONBLOCK | os.O_NOFOLLOW | os.O_NOCTTY
    fd = -1
    try:
        fd = os.open(path, flags)
        is_file = stat.S_ISREG(os.fstat(fd).st_mode)
    except OSError:
        if not path.is_symlink():
            raise
        is_file = False
    if is_file:
        return fd
    if fd >= 0:
        os.close(fd)
    raise SteplogError(f"{path} is no file, and steplog has made none like it; see what it is")


def _printer(*, is_raw: bool) -> Callable[[bytes, int], None]:
    if not is_raw:
        return _print_events
    return _print_safely if sys.stdout.isatty() else _print_bytes


def _print_events(lines: bytes, offset: int) -> None:
    has_colours = is_coloured(sys.stdout)
    for event in decode(lines, offset):
        sys.stdout.write(f"{describe(event, has_colours=has_colours)}\n")


def _print_bytes(lines: bytes, _: int) -> None:
    sys.stdout.buffer.write(lines)


def _print_safely(lines: bytes, _: int) -> None:
    """Print for a terminal: JSON has no control characters, but not all that lies there is JSON."""
    for line in lines.split(b"\n")[: -1 if lines.endswith(b"\n") else None]:
        sys.stdout.write(f"{sanitise(line.decode('utf-8', 'backslashreplace'))}\n")
