"""The daemon's log in the journal: what is sent, by the protocol's letter, over a real socket."""

from __future__ import annotations

import contextlib
import json
import os
import sys
import threading
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import pytest
import structlog

from steplogd.logs import log as log_module
from steplogd.logs.journal import Journal, NotReading, is_journal
from steplogd.logs.journal_entry import entry, sentence
from steplogd.logs.log import set_up_log
from tests.conftest import DEADLINE_SECONDS
from tests.journals import journal

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from tests.journals import Entry, FakeJournal


@pytest.fixture
def there(tmp_path: Path) -> Iterator[FakeJournal]:
    """Listen as the journal does."""
    with journal(tmp_path / "socket") as listening:
        yield listening


Log = Callable[..., str]


@pytest.fixture
def log(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Iterator[Log]:
    """Log lines while standard error is the journal's stream; return what stands on that."""
    path, senders = tmp_path / "stderr", list[Journal]()
    with path.open("w", encoding="utf-8") as stderr:
        status = os.fstat(stderr.fileno())
        monkeypatch.setenv("JOURNAL_STREAM", f"{status.st_dev}:{status.st_ino}")

        def log_lines(socket: str, *lines: tuple[str, str, dict[str, Any]]) -> str:
            monkeypatch.setattr(sys, "stderr", stderr)
            senders.append(Journal(socket))
            monkeypatch.setattr(log_module, "Journal", lambda _: senders[-1])
            set_up_log(journal_socket=socket)
            for level, event, about in lines:
                getattr(structlog.get_logger(), level)(event, **about)
            return path.read_text("utf-8")

        yield log_lines
        for sender in senders:
            sender.close()


def text(found: Entry, name: str) -> str:
    """Return the only value of a field."""
    (value,) = found[name]
    return value.decode()


def test_a_line_has_a_sentence_and_fields(there: FakeJournal, log: Log) -> None:
    """By which `journalctl RUN_ID=` finds it; nothing goes to standard error."""
    about = {"run": "r", "status": "SUCCESS", "observations": 3}
    stderr = log(there.path, ("info", "run ended", about))

    found = there.next()
    assert stderr == ""
    assert text(found, "MESSAGE") == "run ended (run=r, status=SUCCESS, observations=3)"
    assert text(found, "PRIORITY") == "6"
    assert text(found, "SYSLOG_IDENTIFIER") == "steplogd"
    assert text(found, "EVENT") == "run-ended"
    assert text(found, "RUN_ID") == "r"
    assert text(found, "STEPLOG_OBSERVATIONS") == "3"
    assert text(found, "MESSAGE_ID") == "499c6a9be1a75459b1e7856de6ac3220"
    assert found.keys().isdisjoint({"STEPLOG_EVENT", "STEPLOG_LEVEL", "STEPLOG_TIMESTAMP"})


@pytest.mark.parametrize(
    ("level", "event", "priority"),
    [
        ("error", "store set aside", "3"),
        ("warning", "dead letter", "4"),
        ("info", "serving", "5"),
        ("info", "backend answers again", "5"),
        ("info", "run begun", "6"),
    ],
)
def test_priorities_are_those_of_syslog(
    there: FakeJournal, log: Log, level: str, event: str, priority: str
) -> None:
    """What an administrator waited for stands out among runs that begin and end."""
    log(there.path, (level, event, {}))

    assert text(there.next(), "PRIORITY") == priority


def test_a_value_of_several_lines_arrives_whole(there: FakeJournal, log: Log) -> None:
    """And cannot forge a field; the sentence stays one line."""
    reason = "no\nPRIORITY=0\nRUN_ID=other\x1b[31m"
    log(there.path, ("warning", "backend unavailable", {"backend": "m", "reason": reason}))

    found = there.next()
    assert text(found, "STEPLOG_REASON") == reason
    assert text(found, "PRIORITY") == "4"
    assert "RUN_ID" not in found
    assert text(found, "MESSAGE") == (
        r"backend unavailable: no\nPRIORITY=0\nRUN_ID=other\x1b[31m (backend=m)"
    )


def test_a_list_is_a_field_for_each_item(there: FakeJournal, log: Log) -> None:
    """As the journal has it; a map is JSON."""
    log(there.path, ("info", "serving", {"backends": ["a", "b"], "names": {"x": "y"}}))

    found = there.next()
    assert found["STEPLOG_BACKENDS"] == [b"a", b"b"]
    assert found["STEPLOG_NAMES"] == [b'{"x": "y"}']


def test_secrets_are_masked_in_every_field(
    there: FakeJournal, log: Log, monkeypatch: pytest.MonkeyPatch
) -> None:
    """In the sentence, in lists and in maps too."""
    monkeypatch.setenv("MLFLOW_TRACKING_TOKEN", "hush-hush")
    told = {"reason": "got hush-hush", "names": {"hush-hush": ["hush-hush"]}, "run": "hush-hush"}
    log(there.path, ("error", "backend unavailable", told))

    values = [value for values in there.next().values() for value in values]
    assert not [value for value in values if b"hush" in value]


def test_what_lines_are_asked_for_by_is_never_masked(
    there: FakeJournal, log: Log, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Whatever the password: the kind, the urgency and the backend are our words."""
    for name, word in (("A", "mlflow"), ("B", "unavailable"), ("C", "error")):
        monkeypatch.setenv(f"{name}_PASSWORD", word)
    log(there.path, ("error", "backend unavailable", {"backend": "mlflow", "reason": "mlflow"}))

    found = there.next()
    assert text(found, "EVENT") == "backend-unavailable"
    assert text(found, "BACKEND") == "mlflow"
    assert text(found, "PRIORITY") == "3"
    assert text(found, "STEPLOG_REASON") == "…"


def test_what_is_too_large_for_a_datagram_comes_in_a_sealed_file(
    there: FakeJournal, log: Log
) -> None:
    """Each text cut to what somebody may read, after its secrets are masked."""
    fields = {f"f{number}": "x" * 200_000 for number in range(9)}
    log(there.path, ("error", "store set aside", fields))

    found = there.next()
    assert there.files == 1
    assert text(found, "STEPLOG_F8") == f"{'x' * 32768}…"


def test_any_text_is_a_value(tmp_path: Path) -> None:
    """A file name that is no UTF-8 is as it was; what no text can be is written out."""
    with journal(tmp_path / "socket") as there:
        sender = Journal(there.path)
        sender.send([("A", "\udcff"), ("B", "\ud800"), ("C", "")])
        found = there.next()
        sender.close()

    assert found == {"A": [b"\xff"], "B": [rb"\ud800"], "C": [b""]}


def test_field_names_are_such_as_the_journal_takes() -> None:
    """Or it would drop the field in silence."""
    names = [name for name, _ in entry({"event": "e", "lies at-ü": 1, "x" * 99: 2, "_pid": 3})]

    assert names[5:] == ["STEPLOG_LIES_AT_", f"STEPLOG_{'X' * 56}", "STEPLOG__PID"]


def test_a_sentence_needs_no_fields() -> None:
    """Nor a reason."""
    assert sentence({"event": "stopped", "level": "info"}) == "stopped"


def test_without_the_socket_the_priority_stands_before_the_line(tmp_path: Path, log: Log) -> None:
    """On standard error, as sd-daemon(3) has it, and the rest is JSON."""
    stderr = log(str(tmp_path / "none"), ("error", "dead letter", {"run": "r", "reason": "a\nb"}))

    assert stderr.startswith("<3>{")
    assert stderr.count("\n") == 1
    told = json.loads(stderr[3:])
    assert (told["event"], told["run"], told["reason"]) == ("dead letter", "r", "a\nb")


def test_a_journal_that_was_started_anew_is_found(tmp_path: Path) -> None:
    """Though the socket that was connected to is gone."""
    path = tmp_path / "socket"
    with journal(path) as before:
        sender = Journal(before.path)
        sender.send([("A", "1")])
    path.unlink()
    with journal(path) as after:
        sender.send([("A", "2")])
        found = after.next()
        sender.close()

    assert found == {"A": [b"2"]}


def test_a_journal_that_does_not_read_is_not_waited_for(there: FakeJournal) -> None:
    """But for the first entry that it has no room for; it goes on where the journal does."""
    sender = Journal(there.path)
    with contextlib.suppress(NotReading):
        for number in range(100_000):
            sender.send([("N", str(number))])
    with pytest.raises(NotReading):
        sender.send([("N", "again")])
    there.waiting()
    sender.send([("N", "last")])

    assert there.next() == {"N": [b"last"]}
    sender.close()


def test_a_slow_journal_holds_up_nobody_again(
    there: FakeJournal, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Until it has taken all entries for half a minute."""
    now = 0.0
    sender = Journal(there.path, clock=lambda: now)
    monkeypatch.setattr("steplogd.logs.journal._PATIENCE_SECONDS", 0.01)
    room = fill(sender)
    monkeypatch.setattr("steplogd.logs.journal._PATIENCE_SECONDS", 10 * DEADLINE_SECONDS)
    there.waiting()
    again = fill(sender)  # waits for nobody, though the journal has taken entries meanwhile
    there.waiting()
    for _ in range(room):
        sender.send([("N", "n")])
    now = 30.0
    with pytest.raises(NotReading):
        sender.send([("N", "n")], is_patient=False)
    there.waiting()
    for _ in range(room):
        sender.send([("N", "n")])
    now = 60.0
    reading = threading.Timer(0.1, there.waiting)
    reading.start()
    sender.send([("N", "n")])  # waits until there is room
    reading.join()

    assert again == room
    sender.close()


def fill(sender: Journal) -> int:
    """Send until the journal takes no more; return how many it took."""
    for count in range(100_000):
        try:
            sender.send([("N", "n")])
        except NotReading:
            return count
    pytest.fail("it takes all")


def test_lines_that_are_lost_are_counted(there: FakeJournal, log: Log) -> None:
    """And that is told once the journal reads again; standard error waits for nobody."""
    count = 2_000  # more than a socket keeps
    stderr = log(there.path, *[("info", "run begun", {"run": str(n)}) for n in range(count)])
    kept = there.waiting()
    structlog.get_logger().info("stopped")

    assert stderr == ""
    assert text(there.next(), "EVENT") == "stopped"
    told = there.next()
    assert text(told, "EVENT") == "lines-lost"
    assert int(text(told, "STEPLOG_COUNT")) == count - len(kept) > 0


def test_lines_that_are_lost_stay_counted_until_that_is_told(there: FakeJournal, log: Log) -> None:
    """There may be room for one line only, and none for the count."""
    count = 2_000
    log(there.path, *[("info", "run begun", {"run": str(n)}) for n in range(count)])
    there.next()
    structlog.get_logger().info("one")  # takes the only place
    kept = there.waiting()
    structlog.get_logger().info("two")

    assert text(kept[-1], "EVENT") == "one"
    assert text(there.next(), "EVENT") == "two"
    assert int(text(there.next(), "STEPLOG_COUNT")) == count - len(kept)


@pytest.mark.parametrize("told", ["", "1:2", "nonsense"])
def test_another_stream_is_not_the_journals(monkeypatch: pytest.MonkeyPatch, told: str) -> None:
    """Standard error may lead to a file, though the service's own leads to the journal."""
    monkeypatch.setenv("JOURNAL_STREAM", told)

    with open(os.devnull, encoding="utf-8") as stream:  # noqa: PTH123
        assert not is_journal(stream)
    assert not is_journal(stream)
    assert not is_journal(None)
