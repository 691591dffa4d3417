"""How many bytes are left to fold, as far as it is known without looking."""

from __future__ import annotations

from typing import TYPE_CHECKING

from steplogd.intake.tail import CHUNK_BYTES
from tests.lines import Scribe, append

if TYPE_CHECKING:
    from tests.bench import Bench


def test_sweep_knows_what_is_left(bench: Bench) -> None:
    """Of all spools; and nothing once it is folded."""
    sizes = [append(bench.home, run, Scribe().track()).stat().st_size for run in ("a", "b")]
    grown = bench.line.spools.grown()
    before = bench.line.spools.left_bytes
    bench.line.run(grown[:1])
    between = bench.line.spools.left_bytes
    bench.line.run(grown[1:])

    assert (before, between, bench.line.spools.left_bytes) == (sum(sizes), sizes[0], 0)


def test_rest_of_a_spool_that_nobody_swept_counts(bench: Bench) -> None:
    """What is read tells how much more there is."""
    a = Scribe()
    lines = [a.track(text="x" * 1000) for _ in range(CHUNK_BYTES // 1000)]
    path = append(bench.home, "r", *lines)
    bench.line.run(["r"])
    left = bench.line.spools.left_bytes
    bench.line.run(["r"])

    assert 0 < left <= path.stat().st_size - CHUNK_BYTES * 9 // 10
    assert bench.line.spools.left_bytes == 0


def test_spool_that_is_gone_has_nothing_left(bench: Bench) -> None:
    """Seen by a look as by a sweep."""
    for run_id in ("a", "b"):
        append(bench.home, run_id, Scribe().track())
    bench.line.spools.grown()
    (bench.home / "spool" / "a.jsonl").unlink()
    bench.line.run(["a"])
    between = bench.line.spools.left_bytes
    (bench.home / "spool" / "b.jsonl").unlink()
    bench.line.spools.grown()

    assert between > 0
    assert bench.line.spools.left_bytes == 0


def test_spool_that_cannot_be_folded_is_not_left(bench: Bench) -> None:
    """Whoever owns it could else let it look as if nothing were folded; it is counted by itself."""
    path = append(bench.home, "r", Scribe().track())
    path.unlink()
    path.mkdir()
    bench.line.spools.grown()
    bench.line.run(["r"])
    refused = bench.line.spools.left_bytes
    bench.line.spools.grown()

    assert (refused, bench.line.spools.left_bytes) == (0, 0)
    assert list(bench.line.spools.unreadable()) == ["r"]


def test_torn_tail_that_was_looked_at_is_not_left(bench: Bench) -> None:
    """Nobody can fold it before its end comes."""
    append(bench.home, "r", Scribe().track(), b'{"t":"tra')
    bench.fold()

    assert bench.line.spools.left_bytes == 0
