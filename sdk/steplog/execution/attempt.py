"""A command as one attempt of a task: run, logged, and what it exports tracked."""

from __future__ import annotations

import errno
import os
import signal
from typing import TYPE_CHECKING

from steplog import losses
from steplog.events import Catalog, End, Start
from steplog.execution import descendants, last_words
from steplog.execution.child import Child
from steplog.execution.ending import Ending, ending_of
from steplog.execution.exports import Exports, variables_of
from steplog.execution.log import Log
from steplog.execution.output import Output
from steplog.execution.program import NotStarted, as_script, find, recorded, refused
from steplog.execution.sink import Sink
from steplog.execution.surroundings import environment_of
from steplog.execution.warning import warn

if TYPE_CHECKING:
    from pathlib import Path

    from steplog.run import Run


class Attempt:
    """Runs a command in the task that is the run's outermost in this process.

    Args:
        run: The run, which this process is in.
        home: Where the catalog lies, or None where there is no home to be had.
        words: The command.
    """

    def __init__(self, run: Run, home: Path | None, words: list[str]) -> None:
        self._at = run.outermost
        self._home = home
        self._words = words
        self._exports = Exports(self._at)
        self._sink = _open_sink()
        self._output: Output | None = None
        self._replaced = b""  # the environment that the child's program was seen to start with
        self._child = Child()

    def run(self) -> Ending:
        """Run it to its end; never raises once the command has been started.

        Raises:
            TrackingError: Only when asked for: the tracking is broken, and nothing was started.
        """
        at = self._at
        at.writer.append(Start, task=at.task, parameters={})
        self._exports.track(os.environb.items())
        log = self._open_log()
        self._output = Output(log)
        ending = self._perform(self._output)
        self._end(ending, log)
        return ending

    def look(self) -> None:
        """Track what was exported since the last look."""
        # A shell that became another program has no end of its own to record at.
        environ = descendants.environ_of(self._child.pid)
        if environ and environ != self._replaced:
            self._replaced = environ
            self._exports.track(variables_of(environ))
        self._take()

    def before_signal(self, number: int) -> None:
        """Track what a shell that may not live to record it has exported."""
        if self._sink is None:
            return
        pid = self._child.pid
        if number == signal.SIGTERM:
            last_words.hear(pid)
        # A shell that waits for a program says nothing, but told that program what it exports.
        self._exports.track(descendants.variables_below(pid, self._sink.address))
        self._take()

    def resize(self) -> None:
        """Take over the size of the terminal."""
        if self._output is not None:
            self._output.resize()

    def _perform(self, output: Output) -> Ending:
        try:
            self._start(output)
        except NotStarted as error:
            warn(str(error))
            output.abandon()
            return Ending(error.status, message=str(error))
        losses.set_strict(False)  # what runs already is not undone by an error
        output.start()
        ending = ending_of(self._child.wait(self))
        output.finish()
        self._take()
        return ending

    def _take(self) -> None:
        if self._sink is not None:
            self._exports.track(self._sink.take())

    def _start(self, output: Output) -> None:
        at, words = self._at, self._words
        environment = environment_of(at.run.run_id, self._home, at.path, self._sink)
        path = find(words[0])
        try:
            program, shown = (path, words) if self._sink is None else recorded(path, words)
            self._child.start(program, shown, environment, output.ends)
        except OSError as error:
            if error.errno != errno.ENOEXEC:
                raise refused(words[0], error) from None
            self._child.start(*as_script(path, words), environment, output.ends)

    def _open_log(self) -> Log | None:
        if self._home is None:
            return None
        try:
            return Log(self._home, self._at.run.run_id, self._at.path)
        except OSError as error:
            warn(f"what the command prints is not kept ({error}), and the command goes on")
            return None

    def _end(self, ending: Ending, log: Log | None) -> None:
        at = self._at
        if log is not None:
            try:
                at.writer.append(Catalog, task=at.task, **log.close())
            except OSError as error:
                warn(f"the log of the task cannot be read back ({error})")
        status, message = ending.outcome
        at.writer.append(End, task=at.task, status=status, message=message)
        if self._sink is not None:
            self._sink.close()


def _open_sink() -> Sink | None:
    try:
        return Sink()
    except OSError as error:
        warn(f"what the command exports will not be tracked ({error})")
        return None
