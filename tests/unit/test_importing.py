"""Run logs of the original, taken apart: what are steps, times, pieces, and what is malformed."""

from __future__ import annotations

from typing import Any

import pytest

from steplog.decoding import decode
from steplog.events import Catalog, Code, End, Join, KnownEvent, Leave, Start, Track
from steplog.importing.chunks import assemble
from steplog.importing.conversion import spool_lines
from steplog.importing.metrics import observations
from steplog.importing.moments import moment
from steplog.importing.shape import NoRunLog, RunLogMalformed, as_run_log, plain
from tests.lines import ARRIVED_TS

TIMES = {"start_time": "2024-01-09 05:44:42.841295", "end_time": "2024-01-09 05:44:43"}
START, END = 1704779082841295, 1704779083000000


def attempt(**changes: Any) -> dict[str, Any]:
    """Return an attempt that went well."""
    return {**TIMES, "status": "SUCCESS", "message": "", "parameters": {}, **changes}


def step(name: str = "train", **changes: Any) -> dict[str, Any]:
    """Return a step that went well."""
    inner = name.rpartition(".")[2]
    usual = {"name": inner, "internal_name": name, "status": "SUCCESS", "attempts": [attempt()]}
    return {**usual, **changes}


def document(*steps: dict[str, Any], **changes: Any) -> dict[str, Any]:
    """Return the run log of a run with these steps."""
    named = {one["internal_name"]: one for one in steps}
    return {"run_id": "r", "status": "SUCCESS", "steps": named, **changes}


def convert(run_log: dict[str, Any]) -> list[KnownEvent]:
    """Return the events that a run log becomes."""
    events = decode(b"".join(spool_lines(as_run_log(run_log), "w", ARRIVED_TS)))
    return [event for event in events if isinstance(event, KnownEvent)]


@pytest.mark.parametrize(
    ("value", "expected"),
    [
        (42.0, [("k", 0, 42.0)]),
        ({"ham": "world"}, [("k", 0, {"ham": "world"})]),
        ({}, [("k", 0, {})]),
        ({"0": "hello", "1": "hey"}, [("k", 0, "hello"), ("k", 1, "hey")]),
        ({"-3": 1, "10": 2}, [("k", -3, 1), ("k", 10, 2)]),
        ({"7": 1}, [("k", 7, 1)]),
        ({"0": 1}, [("k", 0, {"0": 1})]),
        ({"01": 1, "1": 2}, [("k", 0, {"01": 1, "1": 2})]),
        ({"1": 1, "٢": 2}, [("k", 0, {"1": 1, "٢": 2})]),
        ({"1": 1, "9223372036854775808": 2}, [("k", 0, {"1": 1, "9223372036854775808": 2})]),
        ({"1": 1, "x": 2}, [("k", 0, {"1": 1, "x": 2})]),
    ],
)
def test_an_object_of_whole_numbers_is_taken_for_steps(value: Any, expected: Any) -> None:
    """And nothing else is, nor what has step 0 alone: that would stand flat."""
    assert expected == list(observations({"k": value}))


def test_a_time_without_a_zone_is_taken_for_utc() -> None:
    """One with a zone is converted, and an empty one says nothing."""
    texts = ("2024-01-09 05:44:43", "2024-01-09T06:44:43+01:00", "", None)

    assert [END, END, None, None] == [moment(text) for text in texts]


@pytest.mark.parametrize("text", ["yesterday", "1969-12-31 23:00:00", "0001-01-01 00:00:00"])
def test_what_is_no_time_is_malformed(text: str) -> None:
    """So is one that no event can have."""
    with pytest.raises(RunLogMalformed, match=text):
        moment(text)


def test_parameters_lose_their_kinds_only_when_each_has_one() -> None:
    """A user's own value may look like it."""
    typed = {"a": {"kind": "json", "value": 1}, "b": {"kind": "metric", "value": [2]}}
    mixed = {"a": {"kind": "json", "value": 1}, "b": 2}

    assert {"a": 1, "b": [2]} == plain(typed)
    assert mixed == plain(mixed)


def test_an_attempt_that_failed_says_so_and_the_run_too() -> None:
    """The step's other attempts keep their own status, and metrics go to the last."""
    failed = attempt(status="FAIL", message="no data")
    train = step(attempts=[failed, attempt()], user_defined_metrics={"loss": 0.5})

    events = convert(document(train, status="FAIL"))

    ends = [(event.status, event.message) for event in events if isinstance(event, End)]
    kinds = [type(event) for event in events[2:]]
    assert [("FAIL", "no data"), ("SUCCESS", "")] == ends
    assert [Start, End, Start, Track, End, Leave] == kinds
    assert ["FAIL"] == [event.status for event in events if isinstance(event, Leave)]
    assert {START, END} == {event.ts for event in events if not isinstance(event, Track)}
    assert [END] == [event.ts for event in events if isinstance(event, Track)]


def test_a_step_that_failed_after_its_last_attempt_ends_that_with_a_failure() -> None:
    """A run log says one thing of a step; the earlier attempts stay as they were."""
    train = step(attempts=[attempt(), attempt()], status="FAIL", message="no catalog")

    events = convert(document(train))

    ends = [(event.status, event.message) for event in events if isinstance(event, End)]
    assert [("SUCCESS", ""), ("FAIL", "no catalog")] == ends


def test_a_run_that_had_not_ended_leaves_what_was_under_way_open() -> None:
    """Its fold then takes it for killed; an earlier attempt has failed."""
    waiting = attempt(status="PROCESSING", end_time="")
    train = step(attempts=[waiting, waiting], status="PROCESSING")

    events = convert(document(train, status="PROCESSING"))

    ends = [(event.status, event.message) for event in events if isinstance(event, End)]
    assert [("FAIL", "it never ended: PROCESSING")] == ends
    assert isinstance(events[-1], Start)


def test_a_step_without_an_attempt_has_one_over_its_branches() -> None:
    """Nested steps keep the names of the path to them, dots in a branch's name included."""
    inner = step("each.0.5.inner")
    branch = {"internal_name": "each.0.5", "status": "SUCCESS", "steps": {"x": inner}}
    each = step("each", step_type="map", attempts=[], branches={"each.0.5": branch})

    starts = [event for event in convert(document(each)) if isinstance(event, Start)]

    assert ["each", ("each", "0.5", "inner")] == [event.task for event in starts]
    assert [START, START] == [event.ts for event in starts]
    assert ["map", "task"] == [event.step_type for event in starts]


def test_a_step_that_was_skipped_has_no_attempt() -> None:
    """One that was mocked and has attempts keeps them."""
    skipped = step("a", mock=True, attempts=[])
    mocked = step("b", mock=True)

    events = convert(document(skipped, mocked))

    starts = [(event.task, event.mock) for event in events if isinstance(event, Start)]
    assert [("a", True), ("b", True), ("b", False)] == starts


def test_what_the_run_says_of_itself_travels_in_its_config() -> None:
    """And only what it says."""
    said = document(dag_hash="07", original_run_id=None, run_config={"dag_hash": "", "dag": {}})

    (join,) = [event for event in convert(said) if isinstance(event, Join)]

    assert {"dag_hash": "07", "dag": {}, "original_run_id": None} == join.config


def test_a_config_that_is_too_long_for_a_line_takes_several() -> None:
    """One for each key; what is too long by itself is malformed."""
    large = {"a": "x" * 200_000, "b": "y" * 200_000}

    joins = [event for event in convert(document(run_config=large)) if isinstance(event, Join)]

    assert [{}, {"a": large["a"]}, {"b": large["b"]}] == [join.config for join in joins]
    with pytest.raises(RunLogMalformed, match="join of 'the run': it takes 300,"):
        convert(document(run_config={"a": "x" * 300_000}))


def test_null_in_a_code_identity_is_empty() -> None:
    """Newer versions write it where there is no git; they keep it with the attempt."""
    nothing = {"code_identifier": None, "code_identifier_dependable": None}
    train = step(attempts=[attempt(code_identities=[nothing])], data_catalog=[{"name": "a.csv"}])

    events = convert(document(train))

    (code,) = [event for event in events if isinstance(event, Code)]
    (entry,) = [event for event in events if isinstance(event, Catalog)]
    assert ("", "", False) == (
        code.code_identifier,
        code.code_identifier_type,
        code.code_identifier_dependable,
    )
    assert ("a.csv", "") == (entry.name, entry.stage)


def test_a_job_becomes_a_task() -> None:
    """With its metrics, which newer versions keep with the attempt and with their kind."""
    metrics = {"loss": {"kind": "metric", "value": {"1": 2}, "description": {"1": 2}}}
    job = {"status": "SUCCESS", "attempts": [attempt(user_defined_metrics=metrics)]}

    (tracked,) = [event for event in convert(document(job=job)) if isinstance(event, Track)]

    assert ("job", 0, {"loss": {"1": 2}}) == (tracked.task, tracked.step, tracked.values)


def test_a_run_without_times_is_dated_by_its_file() -> None:
    """There is nothing else to go by."""
    assert {ARRIVED_TS} == {event.ts for event in convert(document())}


@pytest.mark.parametrize(
    ("changes", "reason"),
    [
        ({"run_id": "../x"}, "cannot be a run id"),
        ({"run_id": ".hidden"}, "cannot be a run id"),
        ({"run_id": 7}, r"Expected `str`, got `int` - at `\$.run_id`"),
        ({"steps": []}, r"Expected `object`, got `array` - at `\$.steps`"),
        ({"steps": {"a": {"internal_name": "a", "attempts": 3}}}, "Expected `array`, got `int`"),
        ({"steps": {"": step("")}}, "a step has no name"),
        ({"steps": {"a": step(attempts=[attempt(start_time="soon")])}}, "'soon' is no time"),
        ({"steps": {"a": step(branches={"b": {"internal_name": "b"}})}}, "missing required field"),
        ({"parameters": {"deep": eval("[" * 150 + "]" * 150)}}, "nest"),
        ({"steps": {"a": step(user_defined_metrics={"k": "x" * 300_000})}}, "it takes 300,"),
    ],
)
def test_what_is_no_run_log_of_theirs_is_malformed(changes: dict[str, Any], reason: str) -> None:
    """One sentence says what is wrong with it."""
    with pytest.raises(RunLogMalformed, match=reason):
        convert(document() | changes)


@pytest.mark.parametrize("other", [None, [], 3, "text", {}, {"steps": {}}])
def test_json_that_has_no_run_id_is_something_else(other: Any) -> None:
    """Such files lie beside run logs, and are nothing to complain of."""
    with pytest.raises(NoRunLog, match="no JSON object with a run_id"):
        as_run_log(other)


def test_pieces_go_to_the_longest_name_that_they_go_on_from() -> None:
    """In the order in which they were made, wherever the version keeps the steps."""
    run_log = {"run_id": "r", "steps": {}, "parameters": {"a": 1}}
    nested = {"internal_name": "each.0.5", "steps": {}}
    pieces = {
        "RunLog": run_log,
        "StepLog-after-20": step("after"),
        "StepLog-each-3": step("each"),
        "StepLog-each.0.5.inner-5": step("each.0.5.inner"),
        "BranchLog-each.0.5-4": nested,
        "Parameter-b": {"b": 2},
    }

    whole = assemble(pieces)

    assert ["each", "after"] == list(whole["steps"])
    assert {"each.0.5": nested} == whole["steps"]["each"]["branches"]
    assert ["each.0.5.inner"] == list(nested["steps"])
    assert {"a": 1, "b": 2} == whole["parameters"]


@pytest.mark.parametrize(
    ("pieces", "reason"),
    [
        ({"RunLog": []}, "RunLog is no JSON object"),
        ({"StepLog-a-1": {}}, "StepLog-a-1.json has no internal_name"),
        ({"StepLog-a-1": 3}, "StepLog-a-1 is no JSON object"),
        ({"Parameter-a": 3}, "Parameter-a is no JSON object"),
        ({"BranchLog-a.b-1": {"internal_name": "a.b"}}, "'a.b' belongs to is missing"),
        ({"RunLog": {"steps": 3}}, "steps is no JSON object"),
    ],
)
def test_a_piece_that_fits_nowhere_is_malformed(pieces: dict[str, Any], reason: str) -> None:
    """Nothing of such a run is imported."""
    with pytest.raises(RunLogMalformed, match=reason):
        assemble({"RunLog": {}} | pieces)
