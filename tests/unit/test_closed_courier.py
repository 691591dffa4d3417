"""A courier that is closed while a call goes on: it sends nothing more, as another may by then."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from steplogd.delivery.contract import Refused, Unavailable
from tests.lines import Scribe, fold

if TYPE_CHECKING:
    from steplogd.delivery.memory import Call
    from tests.route import Route


def test_halves_of_a_batch_that_is_refused_late_are_not_sent(route: Route) -> None:
    """Nor is anything acknowledged or set aside: whoever comes next does that."""
    sent: list[int] = []

    def fault(call: Call) -> None:
        if call.method == "send":
            sent.append(len(call.batch))
            route.courier.close()
            raise Refused("no")

    a = Scribe()
    run_no = route.commit(fold(*[a.track() for _ in range(4)]))
    route.courier.advance(run_no)  # its state
    route.tracker.fault = fault
    with pytest.raises(Unavailable, match="closed meanwhile"):
        route.courier.advance(run_no)

    assert (sent, route.arrived(), route.dead()) == ([4], [], {})


def test_run_is_not_opened_any_more(route: Route) -> None:
    """Nobody would close what that begins, a process say."""
    run_no = route.commit(fold(Scribe().track()))
    route.courier.close()

    with pytest.raises(Unavailable, match="closed meanwhile"):
        route.courier.advance(run_no)

    assert route.tracker.runs == {}
