"""A spool compressed in pieces and read back: the same bytes, wherever it is cut."""

from __future__ import annotations

import contextlib
import gzip
import os
from typing import TYPE_CHECKING

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from steplog.decoding import complete
from steplogd.intake import tail
from steplogd.retention import compression
from steplogd.retention.compression import CompressedSpool, Unfaithful, compress
from steplogd.retention.writers import NotNow
from tests.lines import Scribe

if TYPE_CHECKING:
    from pathlib import Path

MOST = 2**30


class Stopped(Exception):
    """Somebody says that it is time to stop."""


def go_on() -> None:
    """Have nothing against it."""


def stop() -> None:
    """Have something against it."""
    raise Stopped


@pytest.fixture
def spool(tmp_path: Path) -> Path:
    """Write a spool of some pieces, with a torn line at its end."""
    path, a = tmp_path / "r.jsonl", Scribe()
    path.write_bytes(b"".join(a.track(step=step) for step in range(3000)) + b'{"t":"tr')
    os.utime(path, ns=(5_000, 7_000))
    return path


@pytest.fixture(autouse=True)
def small_pieces(monkeypatch: pytest.MonkeyPatch) -> None:
    """Have more than one piece and one chunk in a spool of a test, with a longest line to match."""
    monkeypatch.setattr(compression, "PIECE_BYTES", 65_536)
    monkeypatch.setattr(compression, "REST", 0.0)
    monkeypatch.setattr(compression, "CHUNK_BYTES", 65_536)
    monkeypatch.setattr(tail, "CHUNK_BYTES", 65_536)
    monkeypatch.setattr(tail, "MAX_LINE_BYTES", 16_384)


def test_any_gzip_reads_what_is_compressed(spool: Path) -> None:
    """All of it, the torn line too; its time stays, and nobody else may read it."""
    target = spool.with_suffix(".gz")
    size = compress(spool, target, MOST, go_on)

    assert gzip.decompress(target.read_bytes()) == spool.read_bytes()
    assert size == spool.stat().st_size
    assert target.stat().st_mtime_ns == 7_000
    assert target.stat().st_mode & 0o777 == 0o600


def test_what_is_stopped_leaves_nothing(spool: Path) -> None:
    """But the spool, as it was."""
    target = spool.with_suffix(".gz")
    with pytest.raises(Stopped):
        compress(spool, target, MOST, stop)

    assert list(spool.parent.iterdir()) == [spool]


def test_what_somebody_makes_endless_meanwhile_holds_nobody_up(spool: Path) -> None:
    """Who has a second name for it may truncate it to any size; it is read as far as was known."""
    target, size, pieces = spool.with_suffix(".gz"), spool.stat().st_size, []

    def lengthen() -> None:
        os.truncate(spool, MOST)
        pieces.append(1)
        if len(pieces) > 100:
            stop()

    with pytest.raises(NotNow):
        compress(spool, target, size, lengthen)

    assert list(spool.parent.iterdir()) == [spool]


def test_what_does_not_read_back_is_refused(spool: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """As when memory or the disk has kept something else."""
    monkeypatch.setattr("steplogd.retention.compression.zlib.crc32", lambda *_: os.getrandom(4))
    with pytest.raises(Unfaithful, match="does not read back"):
        compress(spool, spool.with_suffix(".gz"), MOST, go_on)

    assert list(spool.parent.iterdir()) == [spool]


def test_chunks_are_those_of_the_spool(spool: Path) -> None:
    """In order, and again from any place where one ended."""
    target = spool.with_suffix(".gz")
    compress(spool, target, MOST, go_on)
    with contextlib.closing(CompressedSpool(target)) as compressed:
        offset, has_more = 0, True
        while has_more:
            expected = tail.read_chunk(spool, offset)
            found = compressed.chunk(offset)
            assert found.lines == expected.lines
            assert compressed.chunk(offset).lines == expected.lines
            offset, has_more = found.end, found.has_more

    assert offset == spool.stat().st_size - len(b'{"t":"tr')


def test_a_damaged_one_is_an_error_of_the_disk(spool: Path) -> None:
    """Cut, or changed in the middle: never an end that looks like one."""
    target = spool.with_suffix(".gz")
    compress(spool, target, MOST, go_on)
    whole = target.read_bytes()
    for damaged in (whole[:-9], whole[:5000] + b"\0\0\0\0" + whole[5004:], b"no gzip at all"):
        target.write_bytes(damaged)
        with pytest.raises(OSError, match=r"is damaged|Not a gzipped file|CRC"):
            read_all(target)


def read_all(path: Path) -> None:
    """Read a compressed spool to its end."""
    with contextlib.closing(CompressedSpool(path)) as compressed:
        chunk = compressed.chunk(0)
        while chunk.has_more:
            chunk = compressed.chunk(chunk.end)


@settings(deadline=None, max_examples=50)
@given(st.lists(st.binary(max_size=40), max_size=30), st.integers(0, 1200), st.integers(0, 1200))
def test_what_lies_before_a_place_is_told(
    tmp_path_factory: pytest.TempPathFactory, lines: list[bytes], offset: int, count: int
) -> None:
    """Of any spool, whatever was read of it before."""
    path = tmp_path_factory.mktemp("spool") / "r.gz"
    content = b"\n".join(lines)
    path.write_bytes(gzip.compress(content))
    offset = min(offset, len(content))
    with contextlib.closing(CompressedSpool(path)) as compressed:
        compressed.chunk(0)
        found = compressed.before(offset, count)
        again = compressed.chunk(offset).lines

    assert found == content[max(offset - count, 0) : offset]
    assert again == content[offset:][: complete(content[offset:])]
