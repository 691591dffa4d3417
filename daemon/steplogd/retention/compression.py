"""Compresses spools into gzip files, a small piece at a time, and reads these back as chunks."""

from __future__ import annotations

import gzip
import os
import time
import zlib
from typing import TYPE_CHECKING, Final

from steplog.home import open_private
from steplogd.intake.tail import CHUNK_BYTES, Chunk, opened, whole_lines
from steplogd.retention.writers import NotNow

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

PIECE_BYTES: Final = 1024 * 1024
"""How much is compressed at once: some 20 ms of work, after which it is asked whether to go on."""

REST: Final = 1.0
"""How long to rest after each piece, in times of what it took: half a core at most."""

# What gzip reads and writes, in zlib's words. Beyond level 6 it takes twice as long for a percent.
_GZIP: Final = 31
_LEVEL: Final = 6


class Unfaithful(OSError):
    """What was compressed does not read back as what it was."""


def compress(source: Path, target: Path, most: int, may_go_on: Callable[[], None]) -> int:
    """Compress a spool into a new file beside it; on return that is whole, read back, and on disk.

    The source stays as it is, and its times are the target's too.

    Args:
        source: The spool.
        target: The file; one that is there is overwritten, one that is not finished is removed.
        most: How many bytes it may have.
        may_go_on: Called before each piece; raises what there is against it.

    Returns:
        The number of bytes that were read: all that the spool had.

    Raises:
        NotNow: It has more: whoever has a second name for it may make it endless.
        OSError: It cannot be read or written; the disk is full, say.
        Exception: What `may_go_on` raised.
    """
    fd = open_private(target, os.O_RDWR | os.O_CREAT | os.O_TRUNC | os.O_CLOEXEC | os.O_NOFOLLOW)
    try:
        with os.fdopen(fd, "r+b") as file, opened(source) as (spool, status):
            compressor, size, checksum = zlib.compressobj(_LEVEL, wbits=_GZIP), 0, 0
            for piece in _pieces(lambda at: os.pread(spool, PIECE_BYTES, at), may_go_on):
                file.write(compressor.compress(piece))
                size, checksum = size + len(piece), zlib.crc32(piece, checksum)
                _check_size(size, most)
            file.write(compressor.flush())
            file.flush()
            os.fsync(fd)
            file.seek(0)
            _check(file.read, size, checksum, str(target), may_go_on)
            for read in (spool, fd):  # nobody needs them soon, and tasks need the memory
                os.posix_fadvise(read, 0, 0, os.POSIX_FADV_DONTNEED)
            os.utime(fd, ns=(status.st_atime_ns, status.st_mtime_ns))
    except BaseException:
        target.unlink(missing_ok=True)
        raise
    return size


def _check_size(size: int, most: int) -> None:
    if size > most:
        raise NotNow("somebody has written to it")


def _pieces(
    read: Callable[[int], bytes], may_go_on: Callable[[], None], rest: float = REST
) -> Iterator[bytes]:
    """Yield what is read from each place on, until there is no more, with a rest after each."""
    at = 0
    while True:
        may_go_on()
        began = time.thread_time()
        piece = read(at)
        if not piece:
            return
        at += len(piece)
        yield piece
        time.sleep(rest * (time.thread_time() - began))


def _check(
    read: Callable[[int], bytes], size: int, checksum: int, name: str, may_go_on: Callable[[], None]
) -> None:
    """Read back what was compressed: the disk may have kept something else, or memory."""
    decompressor, found_size, found = zlib.decompressobj(_GZIP), 0, 0
    try:
        for piece in _pieces(lambda _: read(PIECE_BYTES // 8), may_go_on):
            content = decompressor.decompress(piece)
            found_size, found = found_size + len(content), zlib.crc32(content, found)
    except zlib.error as error:
        raise Unfaithful(0, f"does not read back ({error})", name) from error
    if not decompressor.eof or (found_size, found) != (size, checksum):
        raise Unfaithful(0, "does not read back as what it was", name)


class CompressedSpool:
    """Reads a compressed spool from its start on; to be closed.

    Raises:
        OSError: It cannot be opened.
    """

    def __init__(self, path: Path) -> None:
        fd = os.open(path, os.O_RDONLY | os.O_CLOEXEC | os.O_NOFOLLOW | os.O_NONBLOCK)
        self._raw = os.fdopen(fd, "rb")
        self._status = os.fstat(fd)
        self._file = gzip.GzipFile(fileobj=self._raw)
        self._offset = 0
        self._rest = b""

    def chunk(self, offset: int) -> Chunk:
        """Return the whole lines that follow an offset, as `read_chunk` does of a spool.

        The size of the chunk is the compressed file's. Cheap where the last chunk ended.

        Raises:
            OSError: It cannot be read, or is not what was written.
        """
        try:
            self._go_to(offset)
            data = self._rest + self._file.read(CHUNK_BYTES - len(self._rest))
        except (EOFError, zlib.error) as error:
            raise Unfaithful(0, f"is damaged ({error})", self._raw.name) from error
        end, has_more = whole_lines(data)
        self._offset, self._rest = offset + end, data[end:]
        modified_ts = self._status.st_mtime_ns // 1000
        return Chunk(data[:end], offset, modified_ts, self._status.st_size, has_more=has_more)

    def before(self, offset: int, count: int) -> bytes:
        """Return the bytes that lie just before an offset, up to so many; raises as `chunk`."""
        try:
            self._go_to(max(offset - count, 0))
            data = self._rest + self._file.read(max(min(offset, count) - len(self._rest), 0))
        except (EOFError, zlib.error) as error:
            raise Unfaithful(0, f"is damaged ({error})", self._raw.name) from error
        self._rest = data
        return data[: min(offset, count)]

    def close(self) -> None:
        """Close it."""
        self._file.close()
        self._raw.close()

    def _go_to(self, offset: int) -> None:
        if offset != self._offset:
            self._file.seek(offset)
            self._offset, self._rest = offset, b""
