"""A service that goes on with another configuration: what stays is not touched."""

from __future__ import annotations

import contextlib
import itertools
import os
import signal
import threading
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import anyio
import msgspec
import pytest
from anyio import to_thread

from steplog.home import database_path
from steplogd.changes import Changes
from steplogd.config import ConfigError, load_config
from steplogd.delivery.memory import Call, MemoryBackend, MemoryOptions, MemoryTracker
from steplogd.service import Service
from steplogd.serving import serve
from steplogd.supervised import Supervised
from steplogd.systemd.supervisor import Supervisor
from tests.conftest import DEADLINE_SECONDS, wait_until
from tests.daemon import configure, rows
from tests.guard import RULES
from tests.lines import Scribe, append

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable, Iterator

    from steplogd.config import Config

pytestmark = RULES
ONE = '[[backend]]\ntype = "memory"\nname = "one"\nstore = "one"\n'
TWO = ONE.replace("one", "two")
BAD = ONE.replace("one", "bad")


async def load(home: Path, text: str, **settings: float) -> Config:
    """Write a configuration file, and read it; with other settings than the quick ones."""
    config = await to_thread.run_sync(lambda: load_config(Path(configure(home, text))))
    return replace(config, settings=msgspec.structs.replace(config.settings, **settings))


async def adopt(service: Service, text: str = "", **settings: float) -> Changes:
    """Have a service go on with another configuration."""
    return await service.adopt(await load(service.config.home, text, **settings))


@contextlib.asynccontextmanager
async def started(home: Path, text: str = "", **settings: float) -> AsyncIterator[Service]:
    """Serve a home with these backends; no test may take for ever."""
    with anyio.fail_after(DEADLINE_SECONDS):
        async with Service(await load(home, text, **settings)).started() as service:
            await service.followed()
            yield service


async def until(is_so: Callable[[], bool]) -> None:
    """Wait for a condition that may be looked at in a thread."""
    await to_thread.run_sync(wait_until, is_so)


def tracker(home: Path, store: str) -> MemoryTracker:
    """Return what a backend delivers to."""
    return MemoryBackend.tracker_of(home, store)


def arrived(home: Path, store: str) -> list[int]:
    """Return the positions that arrived there of the run."""
    found = tracker(home, store).runs.get("r")
    return sorted(found.observations) if found else []


class Hanging:
    """A fault that hangs until told otherwise, and counts the calls."""

    def __init__(self) -> None:
        self.go_on = threading.Event()
        self.calls = 0

    def __call__(self, _: Call) -> None:
        """Hang."""
        self.calls += 1
        self.go_on.wait(DEADLINE_SECONDS)


@pytest.fixture
def hanging() -> Iterator[Hanging]:
    """Give a fault that hangs until the test has ended."""
    hanging = Hanging()
    yield hanging
    hanging.go_on.set()


@pytest.fixture
def built(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """List what happens to backends: `+one` is built, `-one` is closed; `bad` cannot be built."""
    seen: list[str] = []
    init = MemoryBackend.__init__

    def build(self: MemoryBackend, options: MemoryOptions, home: Path) -> None:
        if options.store == "bad":
            raise ValueError("no token")
        seen.append(f"+{options.store}")
        self.store = options.store  # type: ignore[attr-defined]
        init(self, options, home)

    def close(self: Any) -> None:
        seen.append(f"-{self.store}")

    monkeypatch.setattr(MemoryBackend, "__init__", build)
    monkeypatch.setattr(MemoryBackend, "close", close)
    return seen


async def test_session_of_a_backend_that_stays_lives_on(home: Path, built: list[str]) -> None:
    """It is neither built nor opened anew."""
    calls: list[str] = []
    tracker(home, "one").fault = lambda call: calls.append(call.method)
    a = Scribe()
    append(home, "r", a.track())
    async with started(home, ONE) as service:
        await until(lambda: arrived(home, "one") == [1])
        await adopt(service, ONE + TWO)
        append(home, "r", a.track())
        await until(lambda: arrived(home, "one") == arrived(home, "two") == [1, 2])
        opened, seen = calls.count("open"), list(built)

    assert (opened, seen) == (1, ["+one", "+two"])


async def test_backend_that_hangs_can_be_removed(home: Path, hanging: Hanging) -> None:
    """Nobody waits for it, and what it did not get it gets when it returns."""
    tracker(home, "one").fault = hanging
    a = Scribe()
    append(home, "r", a.track())
    async with started(home, ONE + TWO) as service:
        await until(lambda: hanging.calls > 0)
        found = await adopt(service, TWO)
        append(home, "r", a.track())
        await until(lambda: arrived(home, "two") == [1, 2])
        tracker(home, "one").fault = None

        await adopt(service, ONE + TWO)
        await until(lambda: arrived(home, "one") == [1, 2])
    assert found == Changes(added=[], removed=["one"], changed=[], settings={})


async def test_backend_that_hangs_can_be_changed(home: Path, hanging: Hanging) -> None:
    """It begins anew once its time is over."""
    tracker(home, "one").fault = hanging
    append(home, "r", Scribe().track())
    async with started(home, ONE) as service:
        await until(lambda: hanging.calls > 0)
        found = await adopt(service, ONE.replace('store = "one"', 'store = "other"'))

        await until(lambda: arrived(home, "other") == [1])
    assert found == Changes(added=[], removed=[], changed=["one"], settings={})


async def test_changed_backend_waits_for_the_end_of_what_it_was(
    home: Path, hanging: Hanging, built: list[str]
) -> None:
    """Two sessions of one backend at one run are one too many."""
    tracker(home, "one").fault = hanging
    a = Scribe()
    append(home, "r", a.track())
    other = ONE.replace('store = "one"', 'store = "other"')
    async with started(home, ONE + TWO) as service:
        await until(lambda: hanging.calls > 0)
        await adopt(service, other + TWO, shutdown_seconds=DEADLINE_SECONDS)
        append(home, "r", a.track())
        await until(lambda: arrived(home, "two") == [1, 2])
        before = list(built), arrived(home, "other")
        hanging.go_on.set()

        await until(lambda: arrived(home, "other") == [1, 2])
        await adopt(service, other)  # whose end is not so far
    assert before == (["+one", "+two", "+other"], [])
    assert built[:4] == ["+one", "+two", "+other", "-one"]


async def test_backend_that_changes_twice_waits_for_the_end_of_both(
    home: Path, hanging: Hanging, built: list[str]
) -> None:
    """Though the second, which never began, ends long before the first."""
    tracker(home, "one").fault = hanging
    append(home, "r", Scribe().track())
    async with started(home, ONE) as service:
        await until(lambda: hanging.calls > 0)
        for store, patience_seconds in (("other", DEADLINE_SECONDS), ("third", 0.1)):
            text = ONE.replace('store = "one"', f'store = "{store}"')
            await adopt(service, text, shutdown_seconds=patience_seconds)
        await until(lambda: "-other" in built)
        await adopt(service, text + TWO, shutdown_seconds=0.1)
        await until(lambda: arrived(home, "two") == [1])
        before = arrived(home, "third")
        hanging.go_on.set()

        await until(lambda: arrived(home, "third") == [1] or arrived(home, "one") == [1])
    assert before == []


async def test_backend_that_cannot_be_built_refuses_all(home: Path, built: list[str]) -> None:
    """What was built before it is closed, and nothing has changed."""
    append(home, "r", Scribe().track())
    async with started(home, ONE) as service:
        before = service.config
        with pytest.raises(ConfigError, match="'bad' cannot be built: no token"):
            await adopt(service, TWO + BAD, sweep_seconds=7.0)
        seen, names = list(built), rows(home, "SELECT name FROM backend WHERE place IS NOT NULL")
        await until(lambda: arrived(home, "one") == [1])

    assert service.config is before
    assert (seen, names) == (["+one", "+two", "-two"], [("one",)])


async def test_backend_that_takes_too_long_to_build_refuses_all(
    home: Path, hanging: Hanging, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It is not waited for, and holds up nobody."""
    monkeypatch.setattr("steplogd.deliveries._BUILD_SECONDS", 0.05)
    append(home, "r", Scribe().track())
    async with started(home, ONE) as service:
        with monkeypatch.context() as patch:
            patch.setattr(MemoryBackend, "__init__", lambda *_: hanging.go_on.wait())
            with pytest.raises(ConfigError, match="'two' cannot be built: that takes more than"):
                await adopt(service, ONE + TWO)

        await until(lambda: arrived(home, "one") == [1])


async def test_backend_that_fails_to_close_is_gone_all_the_same(
    home: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """And can return."""

    def fail(_: MemoryBackend) -> None:
        raise RuntimeError("no")

    monkeypatch.setattr(MemoryBackend, "close", fail)
    append(home, "r", Scribe().track())
    async with started(home, ONE) as service:
        await adopt(service, TWO)
        await until(lambda: arrived(home, "two") == [1])
        await adopt(service, ONE)

        await until(lambda: arrived(home, "one") == [1])


async def test_backend_that_hangs_is_not_waited_for_at_the_end(
    home: Path, hanging: Hanging
) -> None:
    """Though it was just told to end by a reload."""
    tracker(home, "one").fault = hanging
    append(home, "r", Scribe().track())
    async with started(home, ONE) as service:
        await until(lambda: hanging.calls > 0)
        await adopt(service, "")
        began = anyio.current_time()

    assert anyio.current_time() - began < 5


async def test_interval_of_sweeps_takes_effect_at_once(
    home: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Though the old one was an hour, and nothing is told of what was appended."""

    async def hear_nothing(*_: object) -> AsyncIterator[set[str]]:
        yield set()
        await anyio.sleep_forever()

    monkeypatch.setattr("steplogd.folding.follow.watch", hear_nothing)
    async with started(home, sweep_seconds=3600.0) as service:
        append(home, "r", Scribe().track())
        found = await adopt(service)

        await until(lambda: rows(home, "SELECT position FROM run") == [(1,)])
    assert found.settings == {"sweep_seconds": 0.5}


async def test_grace_takes_effect_at_once(home: Path) -> None:
    """A run that all left an hour too early, as the old one says, ends."""
    a = Scribe()
    async with started(home, grace_seconds=3600.0) as service:
        append(home, "r", a.line("join"), a.line("leave"))
        await until(lambda: bool(rows(home, "SELECT 1 FROM run WHERE status = 'PROCESSING'")))
        await adopt(service)

        await until(lambda: rows(home, "SELECT status FROM run") == [("SUCCESS",)])


async def test_what_is_left_to_tasks_takes_effect(home: Path) -> None:
    """What was not folded for lack of room is folded."""
    append(home, "r", Scribe().track())
    async with started(home, min_free=2**62) as service:
        await until(lambda: bool(service.glance().troubles))
        before = rows(home, "SELECT position FROM run")
        await adopt(service, min_free=0)

        await until(lambda: rows(home, "SELECT position FROM run") == [(1,)])
    assert before == []


async def test_folding_goes_on_while_a_backend_is_built(
    home: Path, hanging: Hanging, monkeypatch: pytest.MonkeyPatch
) -> None:
    """And is sent to the others."""
    async with started(home, ONE) as service:
        config = await load(home, ONE + TWO)
        monkeypatch.setattr(MemoryBackend, "__init__", lambda *_: hanging(_))
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(service.adopt, config)
            await until(lambda: hanging.calls > 0)
            append(home, "r", Scribe().track())

            await until(lambda: arrived(home, "one") == [1])
            tasks.cancel_scope.cancel()
    assert arrived(home, "two") == []


def lose_store(home: Path) -> None:
    """Delete it while it is in use."""
    for path in home.glob("steplog.db*"):
        path.unlink()


async def test_store_that_takes_the_place_of_a_broken_one_feeds_what_was_adopted(
    home: Path,
) -> None:
    """Not what the daemon began with."""
    append(home, "r", Scribe().track())
    services: list[Service] = []

    async def lose_the_first_store(service: Service) -> None:
        services.append(service)
        if len(services) == 1:
            await adopt(service, TWO)
            await to_thread.run_sync(lose_store, home)
            await anyio.sleep_forever()
        await to_thread.run_sync(append, home, "r", Scribe("b").track())
        await until(lambda: arrived(home, "two") == [1, 2])

    with anyio.fail_after(DEADLINE_SECONDS):
        await serve(await load(home, ONE), lose_the_first_store)

    assert len(services) == 2


@pytest.fixture
def hang_up_as_before() -> Iterator[None]:
    """Have SIGHUP do what it did: a daemon that ends ignores it for the rest of the process."""
    before = signal.getsignal(signal.SIGHUP)
    yield
    signal.signal(signal.SIGHUP, before)


@pytest.mark.usefixtures("hang_up_as_before")
async def test_reload_in_which_the_store_breaks_is_made_up_for(home: Path) -> None:
    """By the service that takes the place of the one that was asked."""
    append(home, "r", Scribe().track())
    loads = itertools.count()
    config = await load(home, TWO)

    def lose_the_first_store() -> Config:
        if next(loads) == 0:
            lose_store(home)
            wait_until(database_path(home).exists)
        return config

    supervised = Supervised(await load(home, ONE), lose_the_first_store, Supervisor())
    with anyio.fail_after(DEADLINE_SECONDS):
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(supervised.serve)
            await until(lambda: arrived(home, "one") == [1])
            os.kill(os.getpid(), signal.SIGHUP)

            await until(lambda: arrived(home, "two") == [1])
            os.kill(os.getpid(), signal.SIGTERM)
