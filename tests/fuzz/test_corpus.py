"""The fuzzer's corpus, replayed without the fuzzer; and what the oracle itself would notice."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from steplog import decoding
from steplog.events import Malformed
from tests.fuzz.oracle import check

CORPUS = sorted((Path(__file__).parent / "corpus").iterdir())


@pytest.mark.parametrize("path", CORPUS, ids=lambda path: path.name)
def test_what_must_hold_of_any_bytes_holds_of_the_corpus(path: Path) -> None:
    """Each file is one shape that led, or could lead, somewhere new."""
    check(path.read_bytes())


def test_the_corpus_is_small_enough_to_be_looked_through() -> None:
    """Sixty files at most, a few hundred bytes each."""
    assert 40 <= len(CORPUS) <= 60
    assert sum(path.stat().st_size for path in CORPUS) <= 30_000


def test_a_decoder_that_drops_what_follows_a_bad_line_is_caught(monkeypatch: Any) -> None:
    """The oracle is no rubber stamp."""
    honest = decoding.decode

    def forgetful(lines: bytes, offset: int = 0) -> list[Any]:
        events = honest(lines, offset)
        bad = [number for number, one in enumerate(events) if isinstance(one, Malformed)]
        return events[: bad[0] + 1] if bad else events

    for module in ("tests.fuzz.oracle", "tests.folding"):
        monkeypatch.setattr(f"{module}.decode", forgetful)

    with pytest.raises(AssertionError):
        check(b"garbage\nmore garbage")
