"""What is sent once more of a run: a replay, and dead letters that are due."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest

from steplogd.delivery.contract import Limits, Refused, Unavailable
from steplogd.store.letters import Letters
from steplogd.store.standings import Standings
from tests.lines import Scribe, fold
from tests.route import Route, refuse

if TYPE_CHECKING:
    from steplogd.delivery.memory import Call


def test_a_replay_while_a_batch_is_in_flight_sends_all_of_it_again(route: Route) -> None:
    """The answer to that batch moves nothing, and the run is opened anew."""
    route.backend.limits = Limits(observations=2)
    run_no = route.commit(fold(*[Scribe(w).track() for w in "abcd"]))
    calls: list[str] = []

    def fault(call: Call) -> None:
        calls.append(call.method)
        if calls.count("send") == 2 and call.method == "send":
            Standings(route.database).set_back("x")
            route.tracker.runs["r"].observations.clear()

    route.tracker.fault = fault
    route.deliver(run_no)

    assert route.arrived() == [1, 2, 3, 4]
    assert calls == ["open", "settle", "send", "send", "open", "settle", "send", "send"]
    assert route.cursors.behind("x") == []


def test_a_replay_while_a_run_is_settled_settles_it_again(route: Route) -> None:
    """The first answer is not noted."""
    run_no = route.commit(fold(Scribe().track()))
    settled: list[int] = []

    def fault(call: Call) -> None:
        if call.method == "settle":
            settled.append(1)
            if len(settled) == 1:
                Standings(route.database).set_back("x")

    route.tracker.fault = fault
    route.deliver(run_no)

    assert (len(settled), route.arrived(), route.cursors.behind("x")) == (2, [1], [])


def test_due_letters_are_sent_by_themselves_and_halved_likewise(route: Route) -> None:
    """What is taken is a letter no more, what is not has its new reason, nothing else is sent."""
    keys: list[dict[str, Any]] = [{f"k{number}": 0.5} for number in range(10)]
    run_no = route.commit(fold(*[Scribe(f"w{k}").track(**values) for k, values in enumerate(keys)]))
    route.tracker.fault = refuse("k1", "k4", "k8")
    route.deliver(run_no)
    received = route.tracker.runs["r"].received
    Letters(route.database).mark_due(["x"])
    route.tracker.fault = refuse("k4")

    route.deliver(run_no)

    assert route.dead() == {5: "bad key k4"}
    assert route.arrived() == [n for n in range(1, 11) if n != 5]
    assert route.tracker.runs["r"].received == received + 2
    assert route.cursors.behind("x") == []


def test_due_letters_come_before_what_is_new(route: Route) -> None:
    """A run that goes on may have something new for ever."""
    folding = fold(Scribe().track(bad=1))
    run_no = route.commit(folding)
    route.tracker.fault = refuse("bad")
    route.deliver(run_no)
    Letters(route.database).mark_due(["x"])
    route.commit(fold(Scribe("b").track(), into=folding), run_no)
    route.tracker.fault = None

    route.courier.advance(run_no)
    first = route.arrived(), route.dead()
    route.deliver(run_no)

    assert first == ([1], {})
    assert route.arrived() == [1, 2]


def test_due_letters_are_sent_again_when_the_backend_was_away(route: Route) -> None:
    """They stay due."""
    run_no = route.commit(fold(Scribe().track(bad=1)))
    route.tracker.fault = refuse("bad")
    route.deliver(run_no)
    Letters(route.database).mark_due(["x"])

    def away(_: Call) -> None:
        raise Unavailable("away")

    route.tracker.fault = away
    with pytest.raises(Unavailable):
        route.courier.advance(run_no)
    route.tracker.fault = None
    route.deliver(run_no)

    assert (route.arrived(), route.dead()) == ([1], {})


def test_a_refused_state_is_settled_again_when_it_is_due(route: Route) -> None:
    """Once: then it is taken, or a dead letter again."""
    run_no = route.commit(fold(Scribe().track()))
    settled: list[int] = []

    def fault(call: Call) -> None:
        if call.method == "settle":
            settled.append(1)
            raise Refused("no such experiment")

    route.tracker.fault = fault
    route.deliver(run_no)
    Letters(route.database).mark_due(["x"])
    route.deliver(run_no)
    twice = len(settled), route.dead()
    Letters(route.database).mark_due(["x"])
    route.tracker.fault = None
    route.deliver(run_no)

    assert twice == (2, {0: "no such experiment"})
    assert route.dead() == {}
