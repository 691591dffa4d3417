"""The benchmarks' frame: measures, answers as JSON, the page and the plots made from them."""

from __future__ import annotations

import xml.etree.ElementTree as ElementTree
from typing import TYPE_CHECKING

import msgspec
import pytest
from benchmarks.__main__ import render
from benchmarks.frame.answer import (
    LARGEST_BYTES,
    Answer,
    Goal,
    Machine,
    Measure,
    Row,
    read_all,
    write,
)
from benchmarks.frame.page import number, page
from benchmarks.frame.plots import Scale
from benchmarks.frame.question import Notebook
from benchmarks.frame.spread import four_digits, measure, percentile, ratios
from benchmarks.peers.timing import summary

if TYPE_CHECKING:
    from pathlib import Path


@pytest.fixture
def answer() -> Answer:
    """Answer a question with everything that there is."""
    notebook = Notebook(is_quick=False)
    notebook.table(
        "One value",
        [("median", "µs"), ("p99", "µs")],
        [Row("steplog", (Measure(1.5, 1, 2, 3), None))],
    )
    notebook.at_most("beside the bare write", 2.3, "times", 1.7)
    notebook.at_least("of the floor", 60, "%", 31, note="the store")
    notebook.at_most("to MLflow", 200, "ms", None)
    notebook.bars(
        "calls", "A <call>", "µs", [("steplog", Measure(1.5)), ("other", Measure(3000))], log=True
    )
    notebook.lines(
        "growth", "Growth", ("points", ""), ("time", "s"), {"steplog": [(1, 0.1), (1e6, 9)]}
    )
    machine = Machine("a CPU", 2, 16, "6.1", "ext4", "3.11.7", 0.1, 0.9)
    return Answer(
        number=1,
        name="emit",
        title="Emit",
        question="What does a call cost?",
        date="2026-11-30",
        is_quick=False,
        seconds=12.5,
        machine=machine,
        versions={"msgspec": "0.23.0"},
        goals=tuple(notebook.goals),
        tables=tuple(notebook.tables),
        plots=tuple(notebook.plots),
        text=("A paragraph.",),
    )


def test_a_measure_is_the_median_with_the_range() -> None:
    """The lowest and the highest round stand beside the median; one round has no range."""
    assert measure([3, 1, 2], 10) == Measure(20, 10, 30, 3)
    assert measure([0.123456]) == Measure(0.1235)


def test_ratios_are_taken_round_by_round() -> None:
    """Noise that slows down both sides of a round does not count."""
    assert ratios([2, 20], [1, 10]) == Measure(2, 2, 2, 2)


@pytest.mark.parametrize(("share", "expected"), [(0.5, 50), (0.99, 99), (0.999, 100), (0.001, 1)])
def test_a_percentile_is_a_value_that_was_measured(share: float, expected: float) -> None:
    """It is the smallest that at least this share does not exceed."""
    assert percentile(range(1, 101), share) == expected


def test_four_digits_are_kept() -> None:
    """Whole numbers stay whole; zero and what is not finite have no digits to lose."""
    given = [1234567.8, 123456, 0.00012345678, 0, float("inf")]
    assert [four_digits(one) for one in given] == [1235000, 123456, 0.0001235, 0, float("inf")]


def test_a_percentile_of_too_few_calls_is_left_out() -> None:
    """The clock's own time is taken off, never below zero."""
    found = summary([2_000] * 150 + [10], overhead_ns=100)
    assert "p99_us" not in found
    assert (found["median_us"], found["max_us"], found["calls"]) == (1.9, 1.9, 151)
    assert summary([50], overhead_ns=100)["median_us"] == 0


def test_an_answer_is_read_as_it_was_written(answer: Answer, tmp_path: Path) -> None:
    """Through JSON, nothing is lost."""
    write(answer, tmp_path)
    assert read_all(tmp_path) == [answer]


def test_an_answer_with_too_much_in_it_is_refused(answer: Answer, tmp_path: Path) -> None:
    """Summaries are kept, never samples."""
    large = msgspec.structs.replace(answer, text=("x" * LARGEST_BYTES,))
    with pytest.raises(ValueError, match="the answer of emit takes"):
        write(large, tmp_path)


@pytest.mark.parametrize(
    ("at_most", "reached", "expected"),
    [(True, 2, True), (True, 3, False), (False, 3, True), (False, 1, False), (True, None, None)],
)
def test_a_goal_is_reached_at_its_limit(
    at_most: bool, reached: float | None, expected: bool | None
) -> None:
    """What was not measured is neither reached nor missed."""
    assert Goal("x", 2, at_most, "s", reached).is_reached is expected


def test_the_page_says_first_what_was_asked_and_reached(answer: Answer) -> None:
    """Limit, measure and verdict stand in a row, with the reason where it was missed."""
    lines = page([answer]).splitlines()
    goals = [line for line in lines if line.startswith("| [Emit](#1-emit)")]
    assert goals == [
        "| [Emit](#1-emit) | beside the bare write | ≤ 2.30 times | 1.70 times | yes |",
        "| [Emit](#1-emit) | of the floor | ≥ 60 % | 31 % | **no**: the store |",
        "| [Emit](#1-emit) | to MLflow | ≤ 200 ms | not measured | - |",
    ]
    assert "| steplog | 1.50 (1..2) | - |" in lines


def test_a_try_with_tiny_sizes_is_said_to_be_one(answer: Answer) -> None:
    """Nobody takes such numbers for results."""
    tried = msgspec.structs.replace(answer, is_quick=True)
    assert "nothing about speed" in page([tried])
    assert "nothing about speed" not in page([answer])


def test_page_and_plots_are_made_from_the_answers_alone(answer: Answer, tmp_path: Path) -> None:
    """The same answers make the same files; a plot that is no longer made is gone."""
    results = tmp_path / "results"
    results.mkdir()
    results.joinpath("old.svg").touch()
    write(answer, results)
    render(tmp_path)
    first = {path.name: path.read_bytes() for path in tmp_path.rglob("*.*")}
    render(tmp_path)

    assert first == {path.name: path.read_bytes() for path in tmp_path.rglob("*.*")}
    assert {"RESULTS.md", "emit.json", "emit-calls.svg", "emit-growth.svg"} == set(first)
    for name in ("emit-calls.svg", "emit-growth.svg"):
        assert ElementTree.fromstring(first[name]).tag.endswith("svg")
        assert f"](results/{name})".encode() in first["RESULTS.md"]


def test_a_scale_by_logarithm_begins_at_a_decade() -> None:
    """So the lowest has a length, and every tick is a power of ten."""
    scale = Scale(2, 2000, log=True)
    assert scale.ticks() == [1, 10, 100, 1000]
    assert (scale(1), scale(2000), scale(0)) == (0, 1, 0)


def test_numbers_are_written_with_three_digits() -> None:
    """Small ones too, and large ones with separators."""
    given = [1234.5, 12.345, 0.012345, 3, 0]
    assert [number(one) for one in given] == ["1,234", "12.35", "0.0123", "3", "0"]
