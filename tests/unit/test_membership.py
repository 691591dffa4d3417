"""The life of a run: who is in it and in its tasks, and how it ends."""

from __future__ import annotations

import pytest

from tests.folding import attempt, ended, outcome, task
from tests.lines import Scribe, fold, line


def test_a_run_goes_on_while_somebody_is_in_it() -> None:
    """Who joins is in; who leaves is out."""
    a, b = Scribe("a"), Scribe("b")

    folding = fold(a.line("join"), b.line("join"), a.line("leave"))
    before = folding.state.is_anybody_in()
    fold(b.line("leave"), into=folding)

    assert before
    assert not folding.state.is_anybody_in()
    assert folding.state.status == "PROCESSING"


def test_who_opens_a_run_again_changes_nobody_who_was_forgotten_before() -> None:
    """Of thousands that came one after the other, the last one alone is written again."""
    folding = fold()
    for scribe in (Scribe("a"), Scribe("b"), Scribe("c")):
        ended(scribe.line("join"), scribe.line("leave"), into=folding)
    folding.take_changes()

    fold(Scribe("d").line("join"), into=folding)

    assert folding.take_changes().writers == {"c", "d"}


def test_a_run_that_all_left_well_is_a_success() -> None:
    """Its end is the time of its last event."""
    a = Scribe()

    folding = ended(a.line("join"), a.track(), a.line("leave"))

    assert outcome(folding) == ("SUCCESS", False)
    assert folding.state.end_ts == folding.state.last_ts


def test_a_run_that_anyone_left_with_a_failure_has_failed() -> None:
    """Also when others left well afterwards; the first message counts."""
    a, b, c = Scribe("a"), Scribe("b"), Scribe("c")
    joins = [scribe.line("join") for scribe in (a, b, c)]

    folding = ended(
        *joins,
        a.line("leave", status="FAIL", message="first"),
        b.line("leave", status="FAIL", message="second"),
        c.line("leave"),
    )

    assert outcome(folding) == ("FAIL", False)
    assert folding.state.message == "first"


def test_a_run_that_anyone_vanished_from_was_killed() -> None:
    """Though another one left well."""
    a, b = Scribe("a"), Scribe("b")

    folding = ended(a.line("join"), b.line("join"), b.line("leave"))

    assert outcome(folding) == ("FAIL", True)
    assert "killed" in folding.state.message


def test_a_failure_that_was_said_is_worth_more_than_a_kill() -> None:
    """Its message tells more."""
    a, b = Scribe("a"), Scribe("b")

    folding = ended(a.line("join"), b.line("join"), b.line("leave", status="FAIL", message="why"))

    assert outcome(folding) == ("FAIL", False)
    assert folding.state.message == "why"


def test_a_worker_that_vanishes_fails_nothing() -> None:
    """Its parent answers for it."""
    a, child = Scribe("a"), Scribe("child")

    folding = ended(
        a.line("join"),
        child.line("open", worker=True),
        child.line("join"),
        child.track(),
        a.line("leave"),
    )

    assert outcome(folding) == ("SUCCESS", False)
    assert attempt(folding).status == "SUCCESS"


def test_a_worker_that_says_that_it_failed_fails_the_run() -> None:
    """To vanish is not to fail, but to fail is."""
    a, child = Scribe("a"), Scribe("child")

    folding = ended(
        a.line("join"),
        child.line("open", worker=True),
        child.line("join"),
        child.line("leave", status="FAIL", message="why"),
        a.line("leave"),
    )

    assert outcome(folding) == ("FAIL", False)


@pytest.mark.parametrize("kind", ["track", "start", "end", "leave"])
def test_visitors_neither_start_nor_end_a_run(kind: str) -> None:
    """Whatever they say: who never joined cannot leave, nor fail, nor be killed."""
    visitor = Scribe("v")
    says: dict[str, dict[str, object]] = {
        "track": {"values": {"x": 1}},
        "leave": {"status": "FAIL"},
        "end": {"status": "FAIL"},
    }

    folding = fold(visitor.line(kind, **says.get(kind, {})))
    has_members = folding.state.has_members()
    folding.end_run()

    assert not has_members
    assert outcome(folding) == ("SUCCESS", False)


def test_visitors_do_not_open_a_run_again() -> None:
    """Their values are kept all the same."""
    a, visitor = Scribe("a"), Scribe("v")
    folding = ended(a.line("join"), a.line("leave"))

    fold(visitor.track(), visitor.line("start", task="x"), into=folding)

    assert outcome(folding) == ("SUCCESS", False)
    assert folding.state.position == 1


def test_who_joins_later_opens_the_run_again() -> None:
    """What had failed then counts no more."""
    a, b = Scribe("a"), Scribe("b")
    folding = ended(a.line("join"), a.line("leave", status="FAIL", message="why"))
    revision = folding.state.revision

    fold(b.line("join"), into=folding)
    again = folding.state.status, folding.state.end_ts, folding.state.message
    ended(b.line("leave"), into=folding)

    assert again == ("PROCESSING", None, "")
    assert outcome(folding) == ("SUCCESS", False)
    assert folding.state.message == ""
    assert folding.state.revision == revision + 2


@pytest.mark.parametrize("kind", ["track", "start", "leave"])
def test_who_was_taken_for_killed_and_is_heard_again_is_in_again(kind: str) -> None:
    """A lock may be invisible (a network file system); what is written is not."""
    a = Scribe()
    folding = ended(a.line("join"))

    fold(a.line(kind, **({"values": {"x": 1}} if kind == "track" else {})), into=folding)
    status = folding.state.status
    ended(*([] if kind == "leave" else [a.line("leave")]), into=folding)

    assert status == "PROCESSING"
    assert outcome(folding) == ("SUCCESS", False)


def test_a_further_writer_of_a_process_counts_as_the_one_it_joined_with() -> None:
    """A signal handler writes as another writer: it vanishes without failing, and may leave."""
    a, handler = Scribe("a"), Scribe("h")

    folding = ended(
        a.line("join"), handler.line("open", of="a"), handler.track(), handler.line("leave")
    )

    assert outcome(folding) == ("SUCCESS", False)
    assert folding.state.writers["a"].presence == "left"
    assert folding.state.writers["h"].presence == "visitor"


def test_the_first_to_join_names_tag_and_parameters() -> None:
    """Others add what is new."""
    a, b = Scribe("a"), Scribe("b")

    folding = fold(
        a.line("join", tag="one", parameters={"lr": 1}, config={"command": ["a"]}),
        b.line("join", tag="two", parameters={"lr": 2, "epochs": 3}),
    )

    state = folding.state
    assert (state.tag, state.parameters) == ("one", {"lr": 1, "epochs": 3})
    assert state.config == {"command": ["a"]}


def test_what_a_tracker_shows_of_a_run_raises_its_revision() -> None:
    """And what it does not show, does not."""
    a, b, c = Scribe("a"), Scribe("b"), Scribe("c")
    revisions = []
    folding = fold(a.line("join", tag="one"))

    for told in (
        b.line("join", tag="two"),
        c.line("join", parameters={"lr": 1}),
        a.track(),
        a.line("leave"),
    ):
        before = folding.state.revision
        fold(told, into=folding)
        revisions.append(folding.state.revision - before)

    assert revisions == [0, 1, 0, 0]


def test_who_is_in_the_run_enters_a_task_by_tracking_into_it() -> None:
    """Until it leaves the run."""
    a = Scribe()
    folding = fold(a.line("join"), a.track(), a.track())
    before = task(folding).occupants, attempt(folding).end_ts

    fold(a.line("leave"), into=folding)

    assert before == (1, None)
    assert attempt(folding).status == task(folding).status == "SUCCESS"


def test_a_visitor_enters_no_task_by_tracking_into_it() -> None:
    """Nobody could say when the attempt ended."""
    folding = fold(Scribe("v").track())

    assert task(folding).attempt is None
    assert task(folding).status == "PROCESSING"


def test_processes_in_a_task_at_the_same_time_share_its_attempt() -> None:
    """It ends with the last of them, and fails with any."""
    a, b = Scribe("a"), Scribe("b")
    folding = fold(
        a.line("start", task="train", parameters={"rank": 0}),
        b.line("start", task="train", parameters={"rank": 1, "world": 2}),
        a.line("end", task="train", status="FAIL", message="why"),
    )
    before = attempt(folding).end_ts

    fold(b.line("end", task="train"), into=folding)

    latest = attempt(folding)
    assert before is None
    assert (latest.number, latest.status, latest.message) == (1, "FAIL", "why")
    assert latest.parameters == {"rank": 0, "world": 2}
    assert latest.end_ts is not None
    assert task(folding).status == "FAIL"


def test_a_task_entered_again_after_it_ended_is_the_next_attempt() -> None:
    """And the task has the status of that one."""
    a = Scribe()
    first = [a.line("start", task="train"), a.line("end", task="train", status="FAIL")]

    folding = fold(*first, a.line("start", task="train"))
    during = task(folding).status
    fold(a.line("end", task="train"), into=folding)

    assert during == "PROCESSING"
    assert (attempt(folding).number, task(folding).status) == (2, "SUCCESS")


def test_a_process_may_be_in_a_task_more_than_once() -> None:
    """Two of its threads, say."""
    a = Scribe()
    start, end = {"task": "train"}, {"task": "train"}

    folding = fold(a.line("start", **start), a.line("start", **start), a.line("end", **end))
    before = attempt(folding).end_ts
    fold(a.line("end", **end), into=folding)

    assert before is None
    assert attempt(folding).end_ts is not None
    assert task(folding).occupants == 0


def test_who_leaves_the_run_comes_out_of_all_its_tasks() -> None:
    """With the status that it left with."""
    a = Scribe()

    folding = fold(
        a.line("join"),
        a.line("start", task="x"),
        a.line("start", task="y"),
        a.line("leave", status="FAIL", message="why"),
    )

    assert [task(folding, name).status for name in "xy"] == ["FAIL", "FAIL"]
    assert task(folding, "x").message == "why"


def test_the_attempts_of_who_was_killed_have_failed() -> None:
    """They end with the run's last event."""
    a = Scribe()

    folding = ended(a.line("join"), a.line("start", task="train"), a.track())

    assert attempt(folding).status == "FAIL"
    assert attempt(folding).end_ts == folding.state.last_ts


def test_an_end_without_a_start_changes_nothing() -> None:
    """Nor does an end that comes twice."""
    a = Scribe()

    folding = fold(a.line("end", task="train", status="FAIL"))

    assert task(folding).attempt is None
    assert task(folding).occupants == 0


def test_a_visitor_that_never_came_out_of_a_task_does_not_keep_later_attempts_open() -> None:
    """The run's end puts it out, in what is stored as well."""
    a, b, visitor = Scribe("a"), Scribe("b"), Scribe("v")
    folding = ended(a.line("join"), visitor.line("start", task="train"), a.line("leave"))
    inside = folding.state.writers["v"].inside

    fold(
        b.line("join"),
        b.line("start", task="train"),
        b.line("end", task="train"),
        into=folding,
    )

    assert inside == {}
    assert (attempt(folding).number, attempt(folding).status) == (2, "SUCCESS")
    assert task(folding).occupants == 0


def test_a_task_that_nobody_ever_entered_ends_as_the_run_does() -> None:
    """Visitors tracked into it."""
    folding = ended(Scribe("v").track())

    assert task(folding).status == "SUCCESS"


def test_an_arrival_is_told_even_if_it_left_at_once() -> None:
    """So that the grace period begins anew."""
    a, b, visitor = Scribe("a"), Scribe("b"), Scribe("v")
    folding = fold(a.line("join"))
    told = [folding.take_changes().has_arrival]

    later = [a.track()], [b.line("join"), b.line("leave")], [visitor.track()]
    told += [fold(*lines, into=folding).take_changes().has_arrival for lines in later]

    assert told == [True, False, True, False]


def test_an_anonymous_program_may_join_and_leave() -> None:
    """All of them are one."""
    folding = ended(line("join", tag="x"), line("leave", status="FAIL"))

    assert outcome(folding) == ("FAIL", False)
    assert folding.state.tag == "x"


def test_a_task_that_is_skipped_on_purpose_is_a_success_without_an_attempt() -> None:
    """Also in a run that failed, and as the kind of step that was said."""
    a = Scribe()
    lines = [a.line("join"), a.line("start", task="train", step_type="stub", mock=True)]

    folding = ended(*lines, a.line("leave", status="FAIL"))

    skipped = task(folding)
    assert ("stub", True, "SUCCESS") == (skipped.step_type, skipped.mock, skipped.status)
    assert skipped.attempt is None


def test_a_start_that_says_no_kind_leaves_it_as_it_was() -> None:
    """A task is what it was said to be, through all of its attempts."""
    a = Scribe()
    lines = [a.line("join"), a.line("start", task="train", step_type="map")]
    lines += [a.line("end", task="train"), a.line("start", task="train"), a.line("leave")]

    folding = ended(*lines)

    assert task(folding).step_type == "map"
    assert attempt(folding).number == 2
