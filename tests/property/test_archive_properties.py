"""Whatever happens to a run's spools, in any order, each line of them is in the run log once."""

from __future__ import annotations

import contextlib
import gzip
import itertools
import tempfile
from pathlib import Path
from typing import Final

import pytest
from hypothesis import given
from hypothesis import strategies as st

from steplog.home import spool_path
from steplogd.retention import archivist
from steplogd.retention.archive import Place
from steplogd.retention.archivist import Grown
from steplogd.retention.writers import NotNow
from steplogd.store.archived import START, ArchivedSpool
from steplogd.store.documents import Documents
from tests.lines import Scribe, append, line
from tests.shelf import STEPS, Shelf

DEEDS: Final = "track join late fold take compress restart untold forgotten undeleted lose".split()


class Play:
    """A home, and all that may happen to it."""

    def __init__(self, home: Path) -> None:
        self.shelf = Shelf(home)
        self.steps = itertools.count(STEPS)
        self.told = STEPS
        self.writers = itertools.count()
        self.clock = 100.0

    def _next(self) -> int:
        self.told += 1
        return next(self.steps)

    def track(self) -> None:
        """Append as a visitor: a line that would count twice, if it was read twice."""
        append(self.shelf.home, "r", line("track", step=self._next(), values={"x": 1}))

    def join(self) -> None:
        """Join the run, track, and leave it."""
        w = Scribe(f"w{next(self.writers)}")
        begin = w.line("open"), w.line("join")
        append(self.shelf.home, "r", *begin, w.track(step=self._next()), w.line("leave"))

    def late(self) -> None:
        """Append to an archived spool that is still as it was."""
        for place in self._resting():
            with self.shelf.archive.path(place).open("ab") as file:
                file.write(line("track", step=self._next(), values={"x": 1}))

    def fold(self) -> None:
        """Fold all that is there, and let the run end."""
        self.shelf.fold()
        for _ in range(2):
            self.clock += 10
            self.shelf.line.end_runs(self.clock, self.clock)
        for run in Documents(self.shelf.database).outdated():
            Documents(self.shelf.database).written(run.run_no, run.position, run.revision)

    def take(self) -> None:
        """Archive the spool."""
        self.fold()
        for run in self.shelf.finished():
            with contextlib.suppress(NotNow):
                self.shelf.archivist.take(run)

    def compress(self) -> None:
        """Compress all that rest; of those that have grown, fold what came."""
        for run_no, run_id, spool in self._rows():
            try:
                place = Place(run_id, spool.number)
                self.shelf.archivist.finish(run_no, place, spool, "compress", 0.0, lambda: None)
            except Grown:
                self.shelf.line.look_again(run_id, spool.number)
                self.shelf.fold()

    def restart(self) -> None:
        """Kill the daemon, and start it again."""
        self.shelf.start()

    def untold(self) -> None:
        """Kill it after it has renamed a spool, and before it has told the store."""
        self.fold()
        spool, number = spool_path(self.shelf.home, "r"), 1
        while self.shelf.archive.is_taken(Place("r", number)):
            number += 1
        if spool.exists():
            spool.parent.with_name("archive").mkdir(exist_ok=True)
            spool.rename(self.shelf.archive.path(Place("r", number)))
        self.restart()

    def forgotten(self) -> None:
        """Cut the power, so that the disk forgets the last rename, unless it was synced since."""
        spool, resting = spool_path(self.shelf.home, "r"), self._resting()
        last = self.shelf.archived.last_number(1)
        is_synced = any(place.is_compressed for place in self.shelf.archive.places())
        if not (spool.exists() or is_synced) and resting and resting[-1].number == last:
            self.shelf.archive.path(resting[-1]).rename(spool)
        self.restart()

    def undeleted(self) -> None:
        """Cut the power, so that the disk forgets the last deletion."""
        archive = self.shelf.archive
        for place in list(archive.places()):
            as_it_was = archive.path(place._replace(is_compressed=False))
            if not as_it_was.exists():
                as_it_was.write_bytes(gzip.decompress(archive.path(place).read_bytes()))
        self.restart()

    def lose(self) -> None:
        """Lose the store."""
        self.shelf.lose_store()

    def _rows(self) -> list[tuple[int, str, ArchivedSpool]]:
        return self.shelf.archived.in_state("resting", START, 100)

    def _resting(self) -> list[Place]:
        return [Place(run_id, spool.number) for _, run_id, spool in self._rows()]


@given(st.lists(st.sampled_from(DEEDS), min_size=4, max_size=20))
def test_every_line_counts_once(deeds: list[str]) -> None:
    """And after the store is lost at last, all of them are folded again, each once."""
    with tempfile.TemporaryDirectory() as name, pytest.MonkeyPatch.context() as patch:
        patch.setattr(archivist, "REST_SECONDS", 0.0)
        play = Play(Path(name))
        for deed in [*deeds, "compress", "fold"]:
            getattr(play, deed)()
        once = sorted(play.shelf.fold())
        play.lose()
        again = sorted(play.shelf.fold())
        play.shelf.database.close()

        assert once == again == list(range(play.told))
