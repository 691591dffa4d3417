"""Disks that are full, read-only or out of files, and processes out of descriptors, for real."""

from __future__ import annotations

import contextlib
import resource
import signal
import time
from typing import TYPE_CHECKING, Final

import msgspec

from tests.conftest import tracked, wait_until
from tests.disks import (
    MEBIBYTE,
    CannotMount,
    fill,
    make_read_only,
    mount_again,
    mounted,
    use_up_files,
)
from tests.lines import append, line
from tests.torture import judging
from tests.torture.house import FILE_BACKEND, Unavailable
from tests.torture.torture import torture

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence
    from pathlib import Path

    from tests.torture.actors import Actor, Daemon, Writer
    from tests.torture.house import House

DISK_BYTES: Final = 64 * MEBIBYTE
BYTES_A_SECOND: Final = MEBIBYTE // 2
"""What these writers, the run log and the journal of the store take at most, with room to spare."""

MIN_FREE: Final = 8 * MEBIBYTE
PACE: Final = 200
MANY_CALLS: Final = 20
VISITOR_LINES: Final = 2000
MOST_WAIT_SECONDS: Final = 10.0
DESCRIPTORS: Final = 1024
SHORT, FULL = "events refused to spare min_free", "disk filled to its last byte"
OWN = "own file written while events are refused"
WAITS = "daemon waited for room"
NO_FILES, READ_ONLY = "run begun without an inode", "disk made read-only and mounted anew"
NO_DESCRIPTORS, DAEMON_WITHOUT = "run begun without descriptors", "daemon without descriptors"


class _Lenient(msgspec.Struct):
    """A writer that is not strict: of what it issued each may be there, once, and none must be."""

    run_id: str
    key: str
    kind: str
    issued: int
    returned: int = 0

    @property
    def oracle(self) -> _Lenient:
        """What the judge may expect."""
        return self


@torture("the disk is full (tmpfs)", faults=[SHORT, FULL, OWN, WAITS])
def disk_is_short(house: House) -> None:
    """Fill a disk and free it again while tasks emit; the daemon spares its last, as they do."""
    with _disk(house, "tmpfs"):
        daemon = house.daemon(f"min_free = {MIN_FREE}\n{FILE_BACKEND}").start()
        _fill_again_and_again(house, daemon)
        house.happened(WAITS, _count(daemon, "spools are not folded, trying again"))


@torture("the disk is full (ext4)", faults=[SHORT, FULL, OWN])
def disk_is_full(house: House) -> None:
    """Do the same to a daemon that goes on to the last byte, and finds that there is none."""
    with _disk(house, "ext4"):
        daemon = house.daemon(f"min_free = 0\n{FILE_BACKEND}").start()
        _fill_again_and_again(house, daemon)
        # Not each time: a journal that has grown before takes a commit without any more room.
        failed = _count(daemon, "run log cannot be committed, trying again")
        house.note(f"{failed} times a commit failed for want of room, and was made later")


@torture("no file can be made", faults=[NO_FILES], share=0.5)
def no_files(house: House) -> None:
    """Begin runs on a disk that can hold no further file until one is deleted."""
    with _disk(house, "ext4", "-N", "4096"):
        daemon = house.daemon().start()
        begun = []
        for number in house.rounds(least=2):
            made = use_up_files(house.home.parent)
            begun.append(_writer(house, f"n{number}", strict=False).start())
            _wait_for_calls(begun[-1])
            house.happened(NO_FILES, int(not _spool(house, begun[-1]).exists()))
            for path in made:
                path.unlink()
            _see_begun(house, begun[-1])
        _end(house, daemon, [], begun)


@torture("the disk becomes read-only", faults=[READ_ONLY], share=0.5)
def read_only(house: House) -> None:
    """Break the disk under tasks and daemon, and mount it anew; only the daemon is restarted."""
    with _disk(house, "ext4", flags="errors=remount-ro") as disk:
        daemon = house.daemon().start()
        strict = [_writer(house, "strict").start() for _ in range(2)]
        for _ in house.rounds(least=2):
            _break(house, disk, [daemon, *strict])
            _wait_for_refusals(strict)
            house.pause(0, 0.5)
            daemon.stop()
            with _standing_still(strict):  # or they begin anew in the folder below the mount
                mount_again(disk)
            daemon.start()
            _wait_for_returns(strict)
            house.happened(READ_ONLY)
        _end(house, daemon, strict, [])


@torture("no descriptor is left", faults=[NO_DESCRIPTORS, DAEMON_WITHOUT], share=0.5)
def no_descriptors(house: House) -> None:
    """Begin runs in processes that can open nothing, and take all descriptors from the daemon."""
    daemon = house.daemon().start()
    strict, begun = [_writer(house, "strict").start()], []
    for number in house.rounds(least=2):
        _limit(daemon, 3)
        begun.append(_writer(house, f"n{number}", strict=False, TORTURE_NO_DESCRIPTORS="1"))
        _wait_for_calls(begun[-1].start())
        house.happened(NO_DESCRIPTORS, int(not _spool(house, begun[-1]).exists()))
        _limit(begun[-1], DESCRIPTORS)
        _see_begun(house, begun[-1])
        house.pause(0, 0.5)
        _limit(daemon, DESCRIPTORS)
        house.happened(DAEMON_WITHOUT)
    _end(house, daemon, strict, begun)


@contextlib.contextmanager
def _disk(house: House, kind: str, *options: str, flags: str = "") -> Iterator[Path]:
    """Put the home of a house on a disk of its own; what the backend gets lies elsewhere."""
    size_bytes = DISK_BYTES + int(house.budget_seconds * BYTES_A_SECOND)
    with contextlib.ExitStack() as stack:
        try:
            disk = mounted(house.folder / "disk", kind, size_bytes, *options, flags=flags)
            stack.enter_context(disk)
        except CannotMount as error:
            raise Unavailable(str(error)) from error
        house.home = house.folder / "disk" / "home"
        house.home.mkdir(mode=0o700)
        (house.home / "arrived.jsonl").symlink_to(house.folder / "arrived.jsonl")
        yield house.folder / "disk"


def _fill_again_and_again(house: House, daemon: Daemon) -> None:
    strict = [_writer(house, "strict").start() for _ in range(2)]
    lenient = [_writer(house, "lenient", strict=False).start() for _ in range(2)]
    for number in house.rounds(least=4):
        daemon.signal(signal.SIGSTOP)  # so that there is something to fold
        append(house.home, "visitor", line("track", values={"a": number}) * VISITOR_LINES)
        house.pause(0.1, 0.3)
        said = _count(daemon, "trying again")
        leave = house.random.randrange(MIN_FREE // 2, MIN_FREE) if number % 2 else 0
        filler = fill(house.home.parent, leave)
        daemon.signal(signal.SIGCONT)
        _wait_for_refusals(strict)
        house.happened(SHORT if leave else FULL)
        if leave:
            append(house.home, "visitor", line("track", values={"a": number}))
            (house.home.parent / "checkpoint.pt").write_bytes(b"x" * (leave // 2))
            (house.home.parent / "checkpoint.pt").unlink()
            house.happened(OWN)
        _give_time(lambda: _count(daemon, "trying again") > said)  # noqa: B023  # called here alone
        filler.unlink()
        _wait_for_returns(strict)
    _end(house, daemon, strict, lenient)


def _writer(house: House, run_id: str, *, strict: bool = True, **environment: str) -> Writer:
    environment |= {"STEPLOG_MIN_FREE": str(MIN_FREE), "STEPLOG_STRICT": str(int(strict))}
    writer = house.writer(run_id, pace=PACE, **environment)
    writer.program = "tests.torture.refused"
    return writer


def _break(house: House, disk: Path, actors: list[Actor]) -> None:
    """Let the disk break while nobody writes: what was written before is on it."""
    with _standing_still(actors):
        house.pause(0.05, 0.1)
        make_read_only(disk)


@contextlib.contextmanager
def _standing_still(actors: Sequence[Actor]) -> Iterator[None]:
    for actor in actors:
        actor.signal(signal.SIGSTOP)
    yield
    for actor in actors:
        actor.signal(signal.SIGCONT)


def _limit(actor: Actor, descriptors: int) -> None:
    _, most = resource.prlimit(actor.pid, resource.RLIMIT_NOFILE)
    resource.prlimit(actor.pid, resource.RLIMIT_NOFILE, (descriptors, most))


def _wait_for_refusals(writers: list[Writer]) -> None:
    before = [one.oracle.refused for one in writers]
    wait_until(
        lambda: all(one.oracle.refused > was for one, was in zip(writers, before, strict=True))
    )


def _wait_for_returns(writers: list[Writer]) -> None:
    before = [one.oracle.returned for one in writers]
    wait_until(
        lambda: all(one.oracle.returned > was for one, was in zip(writers, before, strict=True))
    )


def _give_time(is_so: Callable[[], bool]) -> None:
    """Wait, but not for ever, for what may well not come true."""
    end = time.monotonic() + MOST_WAIT_SECONDS
    while not is_so() and time.monotonic() < end:
        time.sleep(0.02)


def _wait_for_calls(writer: Writer) -> None:
    wait_until(lambda: writer.oracle.returned >= MANY_CALLS)


def _see_begun(house: House, writer: Writer) -> None:
    """Wait until a writer has tracked something, and have it come to its end."""
    spool = _spool(house, writer)
    wait_until(lambda: spool.exists() and bool(tracked(house.home, writer.run_id)))
    writer.end()


def _spool(house: House, writer: Writer) -> Path:
    return house.home / "spool" / f"{writer.run_id}.jsonl"


def _count(daemon: Daemon, sentence: str) -> int:
    return daemon.log.read_text().count(sentence)


def _end(house: House, daemon: Daemon, strict: list[Writer], lenient: list[Writer]) -> None:
    """End all well; each call that returned is there, and what is not is counted as lost."""
    assert daemon.lives(), f"the daemon ended by itself: {daemon.tail()}"
    for writer in (*strict, *lenient):
        if writer.lives():
            writer.end()
    house.settle()
    daemon.stop()
    if strict:
        house.judge(strict)
        _see_lost(house, "strict", sum(one.oracle.refused for one in strict))
    for run_id in {one.run_id for one in lenient}:
        _judge_lenient(house, run_id, [one for one in lenient if one.run_id == run_id])


def _judge_lenient(house: House, run_id: str, writers: list[Writer]) -> None:
    seen = list(judging.of_run_log(house.home, run_id))
    allowed = [_Lenient(run_id, one.key, one.kind, one.oracle.issued) for one in writers]
    found = judging.compare("the run log", allowed, seen)
    found.calls = len(seen)
    house.verdict.add(found)
    _see_lost(house, run_id, sum(one.oracle.issued for one in writers) - len(seen))


def _see_lost(house: House, run_id: str, count: int) -> None:
    """See that the run log tells of just as many lost calls, and of a run that ended well."""
    row = house.run_row(run_id)
    assert (row["status"], row["lost"], row["gaps"]) == ("SUCCESS", count, 0), (count, row)
    if count:
        house.note(f"{run_id}: {count:,} calls were refused, and the run log says so")
