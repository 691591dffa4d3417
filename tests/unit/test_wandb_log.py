"""How W&B's transaction log is read while it is written, and after its writer was killed."""

from __future__ import annotations

import zlib
from typing import TYPE_CHECKING

import pytest
from hypothesis import given
from hypothesis import strategies as st

from steplogd.delivery.wandb_log import BLOCK_BYTES, BrokenLog, LogTail, block_count

if TYPE_CHECKING:
    from pathlib import Path

HEADER = b":W&B\xe1\xbe\x00"


def log_of(records: list[bytes]) -> bytes:
    """Return a file with these records, laid out as LevelDB's documentation says."""
    content = bytearray(HEADER)
    for record in records:
        is_first, rest = True, record
        while is_first or rest:
            left = BLOCK_BYTES - len(content) % BLOCK_BYTES
            if left < 7:
                content += bytes(left)
                continue
            piece, rest = rest[: left - 7], rest[left - 7 :]
            kind = (1 if not rest else 2) if is_first else (3 if rest else 4)
            checksum = zlib.crc32(bytes([kind]) + piece)
            content += checksum.to_bytes(4, "little") + len(piece).to_bytes(2, "little")
            content += bytes([kind]) + piece
            is_first = False
    return bytes(content)


def sized(sizes: list[int]) -> list[bytes]:
    """Return one record of each size, all of them distinct."""
    return [bytes([number % 251]) * size for number, size in enumerate(sizes, 1)]


@given(
    st.lists(st.integers(1, 80_000), min_size=1, max_size=6), st.lists(st.integers(0), max_size=4)
)
def test_a_growing_file_gives_each_record_once(
    tmp_path_factory: pytest.TempPathFactory, sizes: list[int], cuts: list[int]
) -> None:
    """However large they are, and wherever the writer was when it was read."""
    records = sized(sizes)
    content = log_of(records)
    path = tmp_path_factory.mktemp("log") / "run.wandb"
    tail = LogTail(path)

    found: list[bytes] = []
    for size in [*sorted(cut % len(content) for cut in cuts), len(content)]:
        path.write_bytes(content[:size])
        found += tail.read()

    assert records == found


@pytest.mark.parametrize("rest", [32_747, 32_748, 32_751, 32_754, 32_755])
def test_the_end_of_a_block_is_skipped(tmp_path: Path, rest: int) -> None:
    """It is too small for a fragment, or just not."""
    path = tmp_path / "run.wandb"
    records = sized([rest, 5])
    path.write_bytes(log_of(records))

    assert records == list(LogTail(path).read())


def test_reading_may_begin_at_any_block(tmp_path: Path) -> None:
    """Records that began before it are passed over."""
    path = tmp_path / "run.wandb"
    records = sized([10, 3 * BLOCK_BYTES, 20, 30])
    path.write_bytes(log_of(records))

    assert records[2:] == list(LogTail(path, 2).read())
    assert block_count(path) == 4


def test_half_a_record_is_none(tmp_path: Path) -> None:
    """Its writer was killed."""
    path = tmp_path / "run.wandb"
    records = sized([100, 2 * BLOCK_BYTES])
    path.write_bytes(log_of(records)[:-1])

    assert records[:1] == list(LogTail(path).read())


def test_a_damaged_file_is_said_to_be(tmp_path: Path) -> None:
    """One byte is enough."""
    path = tmp_path / "run.wandb"
    content = bytearray(log_of(sized([100, 100])))
    content[50] ^= 1
    path.write_bytes(content)

    with pytest.raises(BrokenLog, match="damaged"):
        list(LogTail(path).read())


def test_another_file_is_no_log(tmp_path: Path) -> None:
    """Whatever its name."""
    path = tmp_path / "run.wandb"
    path.write_bytes(b"PK\3\4")

    with pytest.raises(BrokenLog, match="does not begin like a transaction log"):
        list(LogTail(path).read())
