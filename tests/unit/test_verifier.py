"""Reading a backend back while it is being delivered to, or cannot be read at all."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import msgspec
import pytest

from steplogd.delivery.contract import Observation, Refused, Unavailable
from steplogd.delivery.courier import Courier
from steplogd.delivery.memory import MemoryBackend, MemoryOptions, MemorySession
from steplogd.store.cursors import Cursors
from steplogd.store.letters import Letters
from steplogd.store.run_logs import FoldedRun, RunLogs
from steplogd.store.standings import Standings
from steplogd.verifier import Verifier
from tests.lines import Scribe, fold

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from steplogd.core.fold import Fold
    from steplogd.delivery.contract import RunInfo
    from steplogd.delivery.memory import Call, MemoryRun
    from steplogd.store.database import Database
    from steplogd.verdict import Difference, Verdict


class Home:
    """A store with one run, a tracker in memory, the courier, and the verifier beside it."""

    def __init__(self, database: Database, home: Path) -> None:
        self.database = database
        self.cursors, self.standings = Cursors(database), Standings(database)
        self.backend = MemoryBackend(MemoryOptions(), home)
        self.courier = Courier("x", self.backend, self.cursors)
        self.folding: Fold = fold()
        self.run_no = 0
        self.read: list[int] = []

    def commit(self, *lines: bytes) -> None:
        """Fold lines, and commit them."""
        fold(*lines, into=self.folding)
        run = FoldedRun(self.run_no, self.folding.state, 0)
        RunLogs(self.database).commit([(run, self.folding.take_changes())])
        self.run_no = run.run_no

    def deliver(self) -> None:
        """Advance until there is no more."""
        while self.courier.advance(self.run_no):
            pass

    def held(self) -> MemoryRun:
        """Return what the tracker holds."""
        return self.backend.tracker.runs["r"]

    def verify(self, backend: Any = None) -> Verdict:
        """Compare all."""
        verifier = Verifier("x", backend or self.backend, self.standings, self.read.append)
        return verifier.verify(self.standings.runs())


@pytest.fixture
def home(database: Database, tmp_path: Path) -> Home:
    """Deliver a run of three observations, which goes on."""
    made = Home(database, tmp_path)
    made.commit(*[Scribe(w).track(step, loss=0.5) for step, w in enumerate("abc")])
    made.deliver()
    return made


def once(method: str, act: Callable[[], None]) -> Callable[[Call], None]:
    """Return a fault: something happens right before the first call of a method."""
    done: list[int] = []

    def fault(call: Call) -> None:
        if call.method == method and not done:
            done.append(1)
            act()

    return fault


def told(difference: Difference) -> tuple[str, int, str | None, str | None, str]:
    """Return the telling fields."""
    found, expected = difference.found, difference.expected
    return difference.name, difference.step, expected, found, difference.reason


VALUE = '{"value":0.5,"attempt":0}'


def test_a_backend_that_has_it_all_is_equal(home: Home) -> None:
    """Three values, and what the run itself is."""
    verdict = home.verify()

    assert (verdict.is_equal, verdict.runs, verdict.points) == (True, 1, 7)
    assert sum(home.read) == 3


def test_a_lost_observation_is_named_as_it_was_tracked(home: Home) -> None:
    """With its task, key and step."""
    del home.held().observations[2]

    (difference,) = home.verify().differences

    assert told(difference) == ("train/loss", 1, VALUE, None, "")
    assert (difference.task, difference.key) == (("train",), "loss")


def test_what_is_not_sent_yet_is_behind_and_no_difference(home: Home) -> None:
    """But it is not equal either."""
    home.commit(Scribe("d").track(3, loss=0.5))

    verdict = home.verify()

    assert (verdict.runs_behind, verdict.observations_behind) == (1, 1)
    assert (verdict.differences, verdict.is_equal) == ([], False)


def test_an_end_that_is_not_told_yet_is_behind_and_no_difference(home: Home) -> None:
    """The tracker has the state before, which was right."""
    home.folding.end_run()
    home.commit()

    verdict = home.verify()

    assert (verdict.runs_behind, verdict.observations_behind) == (1, 0)
    assert verdict.differences == []


def test_what_was_sent_without_an_answer_is_no_difference(home: Home) -> None:
    """It may be there already."""
    home.commit(Scribe("d").track(3, loss=0.5))
    row = home.cursors.pending("x", home.run_no, 1, 1).rows[0]
    home.held().observations[4] = Observation(*row)

    assert home.verify().differences == []


def test_what_arrives_while_the_tracker_is_read_is_no_difference(home: Home) -> None:
    """A daemon folds and delivers meanwhile."""
    home.commit(Scribe("d").track(3, loss=0.5))

    def arrive() -> None:
        home.commit(Scribe("e").track(4, loss=0.5))
        home.deliver()

    home.backend.tracker.fault = once("held", arrive)

    assert home.verify().differences == []


def test_a_run_that_ends_while_it_is_read_is_read_again(home: Home) -> None:
    """Half of the old state and half of the new one say nothing."""

    def end() -> None:
        home.folding.end_run()
        home.commit()
        home.deliver()

    home.backend.tracker.fault = once("held", end)

    verdict = home.verify()

    assert (verdict.is_equal, home.held().settled.status) == (True, "SUCCESS")


def test_a_run_that_changes_all_the_time_is_behind(home: Home) -> None:
    """It cannot be said to be equal, nor what differs."""

    def change(call: Call) -> None:
        if call.method == "held":
            home.standings.set_back("x")
            home.deliver()

    home.backend.tracker.fault = change

    verdict = home.verify()

    assert (verdict.runs, verdict.runs_behind, verdict.differences) == (0, 1, [])


def test_a_dead_letter_is_a_difference_with_its_reason(home: Home) -> None:
    """Once it is discarded, the tracker still lacks it."""

    def refuse(call: Call) -> None:
        if any(seen.key == "bad" for seen in call.batch):
            raise Refused("no")

    home.backend.tracker.fault = refuse
    home.commit(Scribe("d").track(bad=1))
    home.deliver()
    verdicts = [home.verify()]
    Letters(home.database).discard(["x"])
    verdicts.append(home.verify())

    found = [told(difference) for verdict in verdicts for difference in verdict.differences]
    assert found == [
        ("train/bad", 0, '{"value":1,"attempt":0}', None, "dead letter: no"),
        ("train/bad", 0, '{"value":1,"attempt":0}', None, ""),
    ]


def test_another_status_is_a_difference_of_the_run(home: Home) -> None:
    """Somebody changed it in the tracker."""
    held = home.held()
    held.settled = msgspec.structs.replace(held.settled, status="FAIL")

    (difference,) = home.verify().differences

    assert told(difference) == ("status", 0, "'PROCESSING'", "'FAIL'", "")


def test_a_run_that_is_not_there_is_one_difference(home: Home) -> None:
    """And looking for it makes none."""
    home.backend.tracker.runs.clear()

    (difference,) = home.verify().differences

    assert difference.reason == "the tracker has no such run: `steplogd replay` sends it again"
    assert home.backend.tracker.runs == {}


def test_a_run_that_was_never_sent_is_not_looked_for(home: Home) -> None:
    """It is behind, and that is all."""
    home.standings.set_back("x")

    verdict = home.verify()

    assert (verdict.runs, verdict.observations_behind, verdict.differences) == (0, 3, [])


@pytest.mark.parametrize("method", ["look", "held"])
@pytest.mark.parametrize("error", [Unavailable("away"), ZeroDivisionError("away")])
def test_a_backend_out_of_reach_is_told(home: Home, method: str, error: Exception) -> None:
    """Whatever it raises."""

    def fail() -> None:
        raise error

    home.backend.tracker.fault = once(method, fail)

    verdict = home.verify()

    assert (verdict.error.endswith("away"), verdict.is_equal) == (True, False)


def test_a_run_that_cannot_be_read_is_a_difference(home: Home) -> None:
    """It was deleted in the tracker, say; other runs are compared all the same."""

    def fail() -> None:
        raise Refused("it was deleted")

    home.backend.tracker.fault = once("look", fail)

    verdict = home.verify()

    assert [difference.reason for difference in verdict.differences] == ["it was deleted"]
    assert verdict.error == ""


class Plain:
    """A backend of the least that the contract asks for; its sessions may be read back, or not."""

    def __init__(self, home: Home, kind: type[Any]) -> None:
        self._backend, self._kind = home.backend, kind

    def open(self, run: RunInfo) -> Any:
        """Open a session of its kind."""
        return self._kind(self._backend.open(run))


class Unreadable:
    """A session that can only be sent to."""

    def __init__(self, session: MemorySession) -> None:
        self.close = session.close


class Readable(Unreadable):
    """A session that can be read back as well."""

    def __init__(self, session: MemorySession) -> None:
        super().__init__(session)
        self.send, self.settle, self.held = session.send, session.settle, session.held
        self.expected, self.expected_state = session.expected, session.expected_state


def test_a_backend_that_cannot_be_read_back_is_told(home: Home) -> None:
    """It is not equal as far as anybody knows."""
    verdict = home.verify(Plain(home, Unreadable))

    assert verdict.error == "it cannot be read back: look at it in its own pages"


def test_a_backend_that_can_only_open_is_read_all_the_same(home: Home) -> None:
    """To look for a run without making it is a thing that not every tracker can do."""
    home.held().observations[9] = Observation(9, ("train",), 0, "loss", 9, 1, 0.5)

    (difference,) = home.verify(Plain(home, Readable)).differences

    assert told(difference) == ("train/loss", 9, None, VALUE, "")
