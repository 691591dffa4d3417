"""One run's next batch to one backend: what arrives, what is set aside, where the cursor is."""

from __future__ import annotations

import contextlib
import threading
from typing import TYPE_CHECKING, Any

import pytest
import structlog
from structlog.contextvars import merge_contextvars
from structlog.testing import capture_logs

from steplogd.delivery.contract import Limits, Refused, Unavailable
from tests.conftest import DEADLINE_SECONDS
from tests.lines import Scribe, fold, line
from tests.route import Route, refuse

if TYPE_CHECKING:
    from steplogd.delivery.memory import Call


def test_everything_arrives_in_batches_and_then_the_runs_state(route: Route) -> None:
    """Each as large as the backend takes."""
    route.backend.limits = Limits(observations=3)
    a = Scribe()
    run_no = route.commit(fold(a.line("join", tag="t"), *[a.track() for _ in range(10)]))
    more = [route.courier.advance(run_no) for _ in range(6)]

    found = route.tracker.runs["r"]
    assert more == [True] * 5 + [False]
    assert route.arrived() == list(range(1, 11))
    assert (found.received, found.settlements, found.settled.tag) == (10, 1, "t")
    assert route.cursors.behind("x") == []


def test_the_state_of_a_run_that_goes_on_comes_before_its_values(route: Route) -> None:
    """They may come faster than the backend takes them, for ever; its end comes after them."""
    a, b = Scribe("a"), Scribe("b")
    folding = fold(a.line("join", parameters={"lr": 1}), a.track())
    run_no = route.commit(folding)
    called: list[tuple[str, str]] = []
    route.tracker.fault = lambda call: called.append((call.method, call.run.status))
    route.courier.advance(run_no)
    fold(b.track(), into=folding)
    folding.end_run()
    route.commit(folding, run_no)

    route.deliver(run_no)

    assert called == [
        ("open", "PROCESSING"),
        ("settle", "PROCESSING"),
        ("send", "PROCESSING"),
        ("settle", "FAIL"),
    ]


def test_an_end_is_settled_and_the_session_let_go(route: Route) -> None:
    """A later line opens it again."""
    a = Scribe()
    folding = fold(a.track())
    folding.end_run()
    run_no = route.commit(folding)
    route.deliver(run_no)
    fold(a.track(), into=folding)
    route.commit(folding, run_no)

    route.deliver(run_no)

    assert route.arrived() == [1, 2]
    assert route.tracker.runs["r"].settled.status == "SUCCESS"


@pytest.mark.parametrize("count", [1, 2, 7, 100])
def test_a_refusal_is_halved_down_to_the_one_observation(route: Route, count: int) -> None:
    """The others arrive, in order, and the cursor passes it."""
    a = Scribe()
    keys: list[dict[str, Any]] = [{f"k{number}": 0.5} for number in range(count)]
    lines = [a.track(**values) for values in keys]
    run_no = route.commit(fold(*lines))
    route.tracker.fault = refuse(f"k{count // 2}")

    route.deliver(run_no)

    bad = count // 2 + 1
    assert route.dead() == {bad: f"bad key k{count // 2}"}
    assert [*route.tracker.runs["r"].observations] == [n for n in range(1, count + 1) if n != bad]
    assert route.cursors.behind("x") == []


def test_what_was_given_is_counted(route: Route) -> None:
    """What arrived and what was refused, each once, however the batch was halved; not a failure."""
    lines = [line("track", values={key: 1.0}) for key in ("a", "bad", "b", "c")]
    run_no = route.commit(fold(*lines))

    def be_away(call: Call) -> None:
        if call.method == "send":
            raise Unavailable("away")

    route.tracker.fault = be_away
    with pytest.raises(Unavailable):
        route.deliver(run_no)
    before = route.courier.counts.sent, route.courier.counts.refused
    route.tracker.fault = refuse("bad")
    route.deliver(run_no)

    assert before == (0, 0)
    assert (route.courier.counts.sent, route.courier.counts.refused) == (3, 1)


def test_a_dead_letter_is_logged_with_its_run_and_backend(route: Route) -> None:
    """By which a journal finds it; what the backend itself logs has the backend's name as well."""
    run_no = route.commit(fold(line("track", values={"bad": 1.0})))

    def log_and_refuse(call: Call) -> None:
        structlog.get_logger().warning("said by the backend")
        if call.method == "send":
            raise Refused("no")

    route.tracker.fault = log_and_refuse
    with capture_logs([merge_contextvars]) as said:
        route.deliver(run_no)

    letters = [told for told in said if told["event"] == "dead letter"]
    assert [(told["run"], told["backend"]) for told in letters] == [("r", "x")]
    assert {told["backend"] for told in said} == {"x"}


def test_everything_may_be_refused(route: Route) -> None:
    """Then all of it is set aside, and the run goes on."""
    run_no = route.commit(fold(*[Scribe(w).track(bad=1) for w in "abcd"]))
    route.tracker.fault = refuse("bad")

    route.deliver(run_no)

    assert sorted(route.dead()) == [1, 2, 3, 4]
    assert route.cursors.backlog("x").runs == 0


def test_what_failed_for_now_is_sent_again_from_the_cursor_on(route: Route) -> None:
    """Nothing is set aside for it."""
    route.backend.limits = Limits(observations=2)
    run_no = route.commit(fold(*[Scribe(w).track() for w in "abcd"]))
    route.courier.advance(run_no)
    opened: list[str] = []

    def away(call: Call) -> None:
        opened.append(call.method)
        if len(opened) == 1:
            raise Unavailable("away")

    route.tracker.fault = away
    with pytest.raises(Unavailable):
        route.courier.advance(run_no)
    route.deliver(run_no)

    assert opened[:3] == ["send", "open", "send"]
    assert route.arrived() == [1, 2, 3, 4]
    assert route.dead() == {}


def test_half_of_a_refused_batch_that_fails_for_now_keeps_the_other_half(route: Route) -> None:
    """What was acknowledged before is not sent again."""
    run_no = route.commit(fold(*[Scribe(w).track() for w in "abcd"]))
    route.courier.advance(run_no)
    calls: list[int] = []

    def fault(call: Call) -> None:
        if call.method == "send":
            calls.append(len(call.batch))
            if len(calls) == 1:
                raise Refused("too large")
            if len(calls) == 3:
                raise Unavailable("away")

    route.tracker.fault = fault
    with pytest.raises(Unavailable):
        route.courier.advance(run_no)
    route.deliver(run_no)

    assert calls == [4, 2, 2, 2]
    assert route.tracker.runs["r"].received == 4


def test_an_answer_that_was_lost_makes_nothing_twice(route: Route) -> None:
    """It arrived, but the cursor did not move: the same positions come again."""
    run_no = route.commit(fold(*[Scribe(w).track() for w in "abc"]))
    route.deliver(run_no)
    with route.database.transaction() as connection:
        connection.execute("DELETE FROM cursor")

    route.deliver(run_no)

    assert route.arrived() == [1, 2, 3]
    assert route.tracker.runs["r"].received == 6


def test_a_refused_state_is_told_and_not_sent_again(route: Route) -> None:
    """Until the run changes."""
    folding = fold(Scribe().track())
    run_no = route.commit(folding)

    def fault(call: Call) -> None:
        if call.method == "settle":
            raise Refused("no such experiment")

    route.tracker.fault = fault
    route.deliver(run_no)
    behind = route.cursors.behind("x")
    folding.end_run()
    route.commit(folding, run_no)

    assert (behind, route.dead()) == ([], {0: "no such experiment"})
    assert route.cursors.behind("x") == [run_no]


def test_a_backend_that_exits_does_not_end_the_daemon(route: Route) -> None:
    """Some packages call sys.exit when they are unhappy."""
    run_no = route.commit(fold(Scribe().track()))

    def fault(_: Call) -> None:
        raise SystemExit(3)

    route.tracker.fault = fault

    with pytest.raises(RuntimeError, match="tried to exit"):
        route.courier.advance(run_no)


def test_a_run_without_any_event_is_not_even_opened(route: Route) -> None:
    """There is nothing to be told of it."""
    run_no = route.commit(fold(b"garbage\n"))

    assert not route.courier.advance(run_no)
    assert route.tracker.runs == {}


def test_a_value_arrives_as_it_was_tracked(route: Route) -> None:
    """With task, attempt, key, step and time."""
    run_no = route.commit(
        fold(line("track", ts=5, task=["a", "b"], step=-7, values={"k": {"$float": "-Infinity"}}))
    )

    route.deliver(run_no)

    (seen,) = route.tracker.runs["r"].observations.values()
    assert (seen.task, seen.attempt, seen.key, seen.step, seen.ts) == (("a", "b"), 0, "k", -7, 5)
    assert seen.value == float("-inf")


def test_to_close_does_not_touch_a_session_whose_call_has_not_returned(
    route: Route, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Calls for one run never overlap; it is left to the end of the process."""
    run_no = route.commit(fold(Scribe().track()))
    entered, go_on = threading.Event(), threading.Event()
    closed: list[bool] = []
    monkeypatch.setattr(
        "steplogd.delivery.memory.MemorySession.close", lambda _: closed.append(go_on.is_set())
    )

    def hang(call: Call) -> None:
        if call.method == "send":
            entered.set()
            go_on.wait(DEADLINE_SECONDS)

    route.tracker.fault = hang
    thread = threading.Thread(target=route.deliver, args=(run_no,))
    thread.start()
    entered.wait(DEADLINE_SECONDS)
    route.courier.close()
    go_on.set()
    thread.join(DEADLINE_SECONDS)

    assert closed == []


def test_a_tracker_too_slow_for_a_full_batch_gets_smaller_ones(route: Route) -> None:
    """It gets on, nothing is set aside, and batches grow again when it is quick again."""
    limit = 100
    sizes: list[int] = []

    def fault(call: Call) -> None:
        if call.method == "send":
            sizes.append(len(call.batch))
            if len(call.batch) > limit:
                raise Unavailable("timeout")

    a = Scribe()
    run_no = route.commit(fold(a.line("join"), *[a.track() for _ in range(2000)]))
    route.tracker.fault = fault
    while sizes[-1:] != [62]:
        with contextlib.suppress(Unavailable):
            route.courier.advance(run_no)
    limit = 1000
    route.deliver(run_no)

    assert sizes[:6] == [1000, 500, 250, 125, 62, 124]
    assert max(sizes[5:]) > 124
    assert route.arrived() == list(range(1, 2001))
    assert route.dead() == {}
