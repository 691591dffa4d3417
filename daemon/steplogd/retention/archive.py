"""The archive of a home: spools of runs that ended long ago, taken out of `spool/`.

A spool is never renamed, truncated or reused while it is one. It ceases to be one by being renamed
once, into `archive/`, and there it may be written to for a while. That is how nothing is lost:

1. Whoever writes through the SDK holds `flock(LOCK_SH)` from opening to closing. `take_out` takes
   `LOCK_EX` without waiting, sees that all whole lines are folded (by size, and by the mark of the
   checkpoint), renames the spool to `archive/RUN.NUMBER.jsonl`, and frees the lock. Who had the
   lock keeps his spool; who opened it and waits for the lock finds that the name leads elsewhere by
   then, and opens anew; who comes later makes a new spool. Who waited in vain, as the lock was held
   for long, writes without it, and may go on in a new spool with numbers that follow: so what came
   to the archived one is folded before anything of the new one is. Where several users share the
   home, a link tells whose the run is: else its name would be free for anybody.
2. Writers without a lock (`echo >>`) may have the file open. The kernel tells, by granting or
   refusing a lease, whether anybody has; if so, the file gets its old name back, unless there is a
   new spool by then. Not before the rename, as a lease keeps those who come from opening the file.
3. In one transaction, the store notes the archived spool with how much of it is folded, and that
   the run's checkpoint is at the start of a spool that is still to come.
4. The file rests, as it is. A line that somebody in the middle of `echo >>` puts there is folded
   from where it stands: the archived spool has a checkpoint of its own, which is committed together
   with the fold, as the spool's is. So it counts exactly once.
5. When it has rested, nobody has it open, and all of it is folded, it is compressed or removed.
   Compressed: when the store has what is folded of it in the file itself, into another name, read
   back, synced, renamed to `RUN.NUMBER.jsonl.gz`, the folder synced; only then is the original
   deleted, and only then does the store say so. Removed: the store says so first, and has all of
   it in the file itself, synced, not only in its WAL; only then is the spool deleted.

Killed after any of these, `recovery.py` finds at the next start what was done, by what lies there
and by the mark of the checkpoint, and brings the store to it before anything is read.
"""

from __future__ import annotations

import contextlib
import os
import stat
from typing import TYPE_CHECKING, Final, NamedTuple

from steplog.decoding import complete
from steplog.events import MAX_LINE_BYTES
from steplog.home import (
    archive_folder,
    is_shared,
    make_folder,
    owner_mark,
    run_owner,
    spool_path,
)
from steplog.names import check_run_id
from steplogd.intake.tail import MARK_BYTES, mark_of, opened
from steplogd.mounts import remote_mount
from steplogd.retention.compression import CompressedSpool, compress
from steplogd.retention.writers import NotNow, locked, writers_of

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

    from steplogd.retention.writers import Writers

_SUFFIX: Final = ".jsonl"
_COMPRESSED_SUFFIX: Final = ".jsonl.gz"
_UNFINISHED_SUFFIX: Final = ".tmp"
_MOST_TORN_BYTES: Final = 4 * MAX_LINE_BYTES


class NoArchive(OSError):
    """There is no folder for archived spools, and none can be made: something has its name, say."""


class Place(NamedTuple):
    """An archived spool's file: whose, the number of it, and whether it is compressed."""

    run_id: str
    number: int
    is_compressed: bool = False


class Archive:
    """The folder of archived spools; each file is used by one thread at a time.

    Args:
        home: The home; the folder is made with the first archived spool.
    """

    def __init__(self, home: Path) -> None:
        self._home = home
        self._folder = archive_folder(home)

    def path(self, place: Place) -> Path:
        """Return where an archived spool lies."""
        suffix = _COMPRESSED_SUFFIX if place.is_compressed else _SUFFIX
        return self._folder / f"{place.run_id}.{place.number}{suffix}"

    def status(self, place: Place) -> os.stat_result | None:
        """Return a file's status; None where there is none.

        Raises:
            OSError: It cannot be told.
        """
        try:
            status = self.path(place).lstat()
        except FileNotFoundError:
            return None
        return status if stat.S_ISREG(status.st_mode) else None

    def is_compressed(self, place: Place) -> bool:
        """Tell whether an archived spool is there in compressed form, and not as it was."""
        compressed = self.path(place._replace(is_compressed=True))
        return compressed.is_file() and not os.path.lexists(self.path(place))

    def is_taken(self, place: Place) -> bool:
        """Tell whether anything lies where an archived spool would, compressed or not."""
        paths = (self.path(place), self.path(place._replace(is_compressed=True)))
        return any(os.path.lexists(path) for path in paths)

    def places(self, *, is_onlooker: bool = False) -> Iterator[Place]:
        """Go through all that is archived; remove what a kill left unfinished.

        Args:
            is_onlooker: Remove nothing: a daemon may be about to finish it.

        Raises:
            OSError: The folder cannot be read.
        """
        try:
            entries = os.scandir(self._folder)
        except (FileNotFoundError, NotADirectoryError):
            return
        with entries:
            for entry in entries:
                if entry.name.startswith(".") and entry.name.endswith(_UNFINISHED_SUFFIX):
                    if not is_onlooker:
                        os.unlink(entry.path)  # noqa: PTH108  # there may be many thousands
                elif place := _place_of(entry.name):
                    yield place

    def sizes(self) -> dict[str, int]:
        """Return the runs that have archived spools, each with 0: so much is of its spool to come.

        Raises:
            OSError: The folder cannot be read.
        """
        return {place.run_id: 0 for place in self.places()}

    def take_out(self, run_id: str, number: int, offset: int, mark: bytes) -> tuple[int, bool]:
        """Rename a spool into the archive, if nobody writes it and all its lines are folded.

        Args:
            run_id: Whose.
            number: Which of the run's archived spools it becomes.
            offset: How many bytes of it are folded.
            mark: What it is known by at that place; empty if that is not known.

        Returns:
            Its size in bytes, up to where it was looked at; and whether it has grown since: who
            did not get the lock in time, as we held it for long, may have written without it. Who
            does so later than this sees that the name leads elsewhere, and writes it there, too.

        Raises:
            NotNow: It has to stay.
            NoArchive: The folder cannot be made.
            FileNotFoundError: There is none.
            OSError: It cannot be read or renamed.
        """
        self._make_folder()
        source, place = spool_path(self._home, run_id), Place(run_id, number)
        with opened(source) as (fd, status):
            looked_at = os.fstat(fd)
            size = _check_folded(fd, offset, mark)  # before, as who writes waits for the lock
            with locked(fd):
                if _has_changed(looked_at, os.fstat(fd)):
                    raise NotNow("it was written to just now")
                if not os.path.samestat(source.lstat(), status):
                    raise NotNow("it was replaced just now")
                _mark_owner(source, status.st_uid)
                source.rename(self.path(place))
            if writers_of(fd) == "somebody" and self.put_back(place):
                raise NotNow("somebody has it open to write to it")
            return size, os.fstat(fd).st_size != size

    def put_back(self, place: Place) -> bool:
        """Give an archived spool its old name again; False where that is taken by a new one.

        Not where several users share the home: to them, a spool with two names is a trap.
        """
        source, target = self.path(place), spool_path(self._home, place.run_id)
        if is_shared(target.parent):
            return False
        try:
            os.link(source, target, follow_symlinks=False)
        except OSError:
            return False
        source.unlink()
        return True

    def is_put_back(self, place: Place) -> bool:
        """Tell whether an archived spool has its old name too, and forget the new one then."""
        source, target = self.path(place), spool_path(self._home, place.run_id)
        try:
            if not os.path.samestat(source.lstat(), target.lstat()):
                return False
        except FileNotFoundError:
            return False
        source.unlink()
        return True

    def writers(self, place: Place) -> Writers:
        """Tell whether anybody may still write to an archived spool; raises as `read_chunk`.

        "nobody" is nowhere said of a network file system: what other machines have open there, or
        locked, the kernel of this one may not know.
        """
        with opened(self.path(place)) as (fd, _):
            try:
                with locked(fd):
                    found = writers_of(fd)
            except NotNow:
                return "somebody"
        return "unknown" if found == "nobody" and remote_mount(self._folder) else found

    def is_known_by(self, place: Place, offset: int, mark: bytes) -> bool:
        """Tell whether a mark is that of an archived spool, or of the run's spool at number 0.

        Raises:
            FileNotFoundError: There is none.
            OSError: It cannot be read.
        """
        if place.is_compressed:
            with contextlib.closing(CompressedSpool(self.path(place))) as spool:
                return mark_of(spool.before(offset, MARK_BYTES)) == mark
        path = self.path(place) if place.number else spool_path(self._home, place.run_id)
        with opened(path) as (fd, status):
            return status.st_size >= offset and mark_of(_before(fd, offset)) == mark

    def compress(self, place: Place, size: int, may_go_on: Callable[[], None]) -> int:
        """Compress an archived spool, and delete it as it was.

        Killed at any time, it is there as it was, compressed, or both.

        Args:
            place: Which.
            size: In bytes, of what was folded and of a torn tail, if it has any.
            may_go_on: Called before each piece; raises what there is against it.

        Returns:
            The size of what is there now.

        Raises:
            NotNow: It grew meanwhile, or somebody has it open; it is as it was.
            OSError: It cannot be read or written; it is as it was.
            Exception: What `may_go_on` raised; it is as it was.
        """
        source, target = self.path(place), self.path(place._replace(is_compressed=True))
        unfinished = target.with_name(f".{target.name}{_UNFINISHED_SUFFIX}")
        found = compress(source, unfinished, size, may_go_on)
        if self.writers(place) == "somebody" or {found, source.lstat().st_size} != {size}:
            unfinished.unlink()
            raise NotNow("somebody has written to it")
        unfinished.replace(target)
        self._sync()
        source.unlink()
        return target.lstat().st_size

    def remove(self, place: Place) -> None:
        """Delete an archived spool; one that is not there is none any more."""
        self.path(place).unlink(missing_ok=True)

    def _make_folder(self) -> None:
        try:
            make_folder(self._folder)
        except OSError as error:
            reason = error.strerror or str(error)
            raise NoArchive(error.errno, reason, str(self._folder)) from error

    def _sync(self) -> None:
        """Return when the names in the folder would survive a power cut."""
        fd = os.open(self._folder, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
        try:
            os.fsync(fd)
        finally:
            os.close(fd)


def _mark_owner(spool: Path, uid: int) -> None:
    """Let nobody else take a run by its name, which is free from now on."""
    if not is_shared(spool.parent) or run_owner(spool) == str(uid):
        return
    mark = owner_mark(spool)
    _clear_away(mark)
    mark.symlink_to(str(uid))


def _clear_away(mark: Path) -> None:
    """Free a name that somebody else may have given to anything, even to a full folder."""
    aside = mark.with_name(f".aside-{os.urandom(8).hex()}")
    try:
        mark.rename(aside)
    except FileNotFoundError:
        return
    for remove in (os.unlink, os.rmdir):
        with contextlib.suppress(OSError):
            remove(aside)


def _check_folded(fd: int, offset: int, mark: bytes) -> int:
    """See that all whole lines of a spool are folded; return the size that this is true of."""
    size = os.fstat(fd).st_size
    if size < offset or mark not in (b"", mark_of(_before(fd, offset))):
        raise NotNow("it is not what was folded")
    if size - offset > _MOST_TORN_BYTES or complete(os.pread(fd, size - offset, offset)):
        raise NotNow("there is more to be folded of it")
    return size


def _has_changed(before: os.stat_result, now: os.stat_result) -> bool:
    return (before.st_size, before.st_mtime_ns) != (now.st_size, now.st_mtime_ns)


def _before(fd: int, offset: int) -> bytes:
    known = min(offset, MARK_BYTES)
    return os.pread(fd, known, offset - known)


def _place_of(name: str) -> Place | None:
    is_compressed = name.endswith(_COMPRESSED_SUFFIX)
    suffix = _COMPRESSED_SUFFIX if is_compressed else _SUFFIX
    run_id, _, number = name.removesuffix(suffix).rpartition(".")
    try:
        is_one = name.endswith(suffix) and number.isdecimal() and number[0] != "0"
        return Place(check_run_id(run_id), int(number), is_compressed) if is_one else None
    except ValueError:
        return None
