"""`steplog show RUN --set-aside`: what of a spool is no event, and what of it is missing."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

from steplog.cli import main
from steplog.set_aside import Gap
from steplogd.core.state import MOST_SET_ASIDE
from steplogd.store.run_logs import MOST_GAPS
from tests.bench import Bench
from tests.lines import append, line

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from tests.stores import Store

import pytest


@pytest.fixture
def bench(home: Path) -> Iterator[Bench]:
    """Build a line over an empty home."""
    (home / "spool").mkdir(parents=True)
    built = Bench(home)
    yield built
    built.database.close()


def test_pieces_are_shown_with_their_place_and_nothing_reaches_the_terminal(
    folded: Store, capsys: Any
) -> None:
    """Neither an escape sequence nor what is no UTF-8, nor a line of a thousand characters."""
    folded.set_aside(7, b"\x1b[31mred\n\xff\x00")
    folded.set_aside(99, b"x" * 60, "why\x07", size=5_000)
    folded.connection.execute("UPDATE run SET malformed = 5")

    status = main(["show", "done", "--set-aside"])

    assert status == 0
    assert capsys.readouterr().out.splitlines() == [
        "OFFSET  SIZE  REASON   BEGINS WITH",
        r"7       11    torn     \x1b[31mred\n\xff\x00",
        rf"99      5000  why\x07  {'x' * 40}…",
        "of 5 pieces in all; the spool has the others",
    ]


def test_pieces_and_gaps_are_printed_as_json(bench: Bench, capsys: Any) -> None:
    """For other programs; texts that no terminal should see are escaped by JSON itself."""
    numbered = [line("track", w="a\x1b", n=n, values={"x": 1}) for n in (0, 3, 4, 6)]
    append(bench.home, "r", b"\xff\n", *numbered)
    bench.fold()
    capsys.readouterr()

    status = main(["show", "r", "--set-aside", "--json"])
    told = json.loads(capsys.readouterr().out)

    assert status == 0
    (piece,) = told["pieces"]
    assert (piece["offset"], piece["size"], piece["excerpt"]) == (0, 1, "\\xff")
    assert (told["malformed"], told["missing"]) == (1, 3)
    assert told["gaps"] == [
        {"w": "a\x1b", "first": 1, "last": 2},
        {"w": "a\x1b", "first": 5, "last": 5},
    ]


def test_show_names_what_is_missing_and_how_to_look(bench: Bench, capsys: Any) -> None:
    """Beside the counts."""
    numbered = [line("track", w="a\x1b", n=n, values={"x": 1}) for n in (0, 3, 4, 6)]
    append(bench.home, "r", b"torn\n", *numbered)
    bench.fold()

    main(["show", "r"])
    shown = " ".join(capsys.readouterr().out.split())

    assert "3 numbered lines missing: 1 to 2 of writer a\\x1b, 5 of writer a" in shown
    assert "1 piece of the spool that can be no event: steplog show r --set-aside" in shown


def test_a_run_in_order_has_nothing_to_show(folded: Store, capsys: Any) -> None:
    """And one that is not there is one sentence."""
    assert main(["show", "done", "--set-aside"]) == 0
    assert capsys.readouterr().out == "nothing was set aside\n"

    assert main(["show", "absent", "--set-aside"]) == 1
    assert "no run absent" in capsys.readouterr().err


def test_gaps_are_named_up_to_a_bound_and_all_counted(bench: Bench) -> None:
    """Also when they come in several commits."""
    for start in (0, 1_000):
        numbers = range(start, start + 2 * MOST_GAPS, 2)
        append(bench.home, "r", *[line("leave", w="a", n=number) for number in numbers])
        bench.fold()

    with bench.database.reading() as connection:
        named = connection.execute("SELECT w, first, last FROM gap ORDER BY first").fetchall()

    assert [Gap(*gap) for gap in named[:2]] == [Gap("a", 1, 1), Gap("a", 3, 3)]
    assert len(named) == MOST_GAPS
    assert bench.run()["gaps"] == 99 + 801 + 99


def test_pieces_are_kept_up_to_a_bound_and_all_counted(bench: Bench) -> None:
    """Also when they come in several commits."""
    for count in (MOST_SET_ASIDE - 1, 5):
        append(bench.home, "r", b"x\n" * count)
        bench.fold()

    with bench.database.reading() as connection:
        ((kept,),) = connection.execute("SELECT count(*) FROM set_aside").fetchall()

    assert (kept, bench.run()["malformed"]) == (MOST_SET_ASIDE, MOST_SET_ASIDE + 4)
