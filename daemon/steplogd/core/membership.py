"""Who is in a run and in its tasks: joining, leaving, attempts, and the end of the run."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

from steplog.values import to_json
from steplogd.core.state import FAIL, PROCESSING, SUCCESS, Attempt, Task, Writer

if TYPE_CHECKING:
    from steplogd.core.state import Changes, RunState

KILLED_MESSAGE: Final = "killed: a process of the run vanished without leaving it"


NAME_BYTES: Final = 200
"""About what a writer, a task or a key takes in memory beside its name."""


class Membership:
    """The part of the fold that knows who is where; changes the state, and notes what changed.

    Attributes:
        weight: About how many bytes the state takes; it never shrinks.
    """

    def __init__(self, state: RunState, changes: Changes) -> None:
        self.state = state
        self.changes = changes
        self.weight = weigh(state)

    def writer(self, w: str) -> Writer:
        """Return the writer of that id; one that is new is a visitor."""
        writer = self.state.writers.get(w)
        if writer is None:
            writer = self.state.writers[w] = Writer(w, of=w)
            self.weight += NAME_BYTES + len(w)
        self.changes.writers.add(w)
        return writer

    def member(self, w: str) -> Writer:
        """Return the writer whose presence counts for this one."""
        return self.writer(self.writer(w).of)

    def open(self, w: str, of: str, worker: bool) -> None:
        """Note who a writer belongs to."""
        writer = self.writer(w)
        writer.of, writer.worker = of or w, worker

    def join(self, w: str, tag: str, parameters: dict[str, Any], config: dict[str, Any]) -> None:
        """Let a member in; the first names the run's tag, all add to its parameters."""
        state = self.state
        member = self.member(w)
        self._let_in(member)
        if (tag and not state.tag) or parameters.keys() - state.parameters.keys():
            state.revision += 1
        state.tag = state.tag or tag
        self._add_new(state.parameters, parameters)
        self._add_new(state.config, config)

    def leave(self, w: str, ts: int, status: str, message: str) -> None:
        """Let a member out, of every task that it is still in too."""
        member = self.be_heard(w)
        if member.presence != "in":
            return  # who never joined cannot leave
        for task_no in list(member.inside):
            self._come_out(member, self.state.tasks[task_no], ts, status, message)
        member.presence, member.status = "left", status
        if status == FAIL and not self.state.message:
            self.state.message = message

    def be_heard(self, w: str) -> Writer:
        """Return the member that just wrote; one that was taken for killed is in again."""
        member = self.member(w)
        if member.presence == "vanished":
            self._let_in(member)
        return member

    def task(self, path: tuple[str, ...]) -> Task:
        """Return the task of that path, a new one if need be."""
        task = self.state.task_by_path.get(path)
        if task is None:
            task = Task(no=len(self.state.tasks), path=path)
            self.state.tasks.append(task)
            self.state.task_by_path[path] = task
            self.weight += NAME_BYTES + sum(map(len, path))
            self.changes.tasks.add(task.no)
        return task

    def set_step_type(self, task: Task, step_type: str) -> None:
        """Note what kind of step a task is."""
        task.step_type = step_type
        self.changes.tasks.add(task.no)

    def skip(self, task: Task) -> None:
        """Note that a task is skipped on purpose, which is no attempt of it."""
        task.mock = True
        if task.attempt is None:
            task.status = SUCCESS
        self.changes.tasks.add(task.no)

    def enter(self, member: Writer, task: Task, ts: int, parameters: dict[str, Any]) -> None:
        """Put a member into a task: into the attempt under way, else into a new one."""
        attempt = task.attempt
        if attempt is None or attempt.end_ts is not None:
            number = attempt.number + 1 if attempt else 1
            attempt = task.attempt = Attempt(number, ts)
            task.status, task.message = PROCESSING, ""
            self.changes.tasks.add(task.no)
        self._add_new(attempt.parameters, parameters)
        self.changes.attempts[task.no, attempt.number] = attempt
        member.inside[task.no] = member.inside.get(task.no, 0) + 1
        task.occupants += 1

    def exit(self, member: Writer, task: Task, ts: int, status: str, message: str) -> None:
        """Take a member out of a task, once; it need not be in it."""
        entered = member.inside.get(task.no, 0)
        if entered > 1:
            member.inside[task.no] = entered - 1
            task.occupants -= 1
            self._note_failure(task, status, message)
        elif entered == 1:
            self._come_out(member, task, ts, status, message)

    def end_run(self) -> None:
        """End the run that nobody is in any more; who has not left has vanished."""
        state = self.state
        vanished = [member for member in state.members() if member.presence == "in"]
        for member in vanished:
            self._vanish(member)
        for visitor in [writer for writer in state.writers.values() if writer.inside]:
            for task_no in list(visitor.inside):  # they never said that they were done
                self._come_out(visitor, state.tasks[task_no], state.last_ts, SUCCESS, "")
            self.changes.writers.add(visitor.w)
        has_failed = any(member.status == FAIL for member in state.members())
        state.killed = not has_failed and any(not member.worker for member in vanished)
        state.status = FAIL if has_failed or state.killed else SUCCESS
        told = state.message if has_failed else ""
        state.message = KILLED_MESSAGE if state.killed else told
        state.end_ts = max(state.last_ts, state.start_ts)  # a clock may have been set back
        state.revision += 1
        for task in state.tasks:
            if task.attempt is None and not task.mock:
                task.status = state.status
                self.changes.tasks.add(task.no)

    def _let_in(self, member: Writer) -> None:
        member.presence, member.status = "in", ""
        self.changes.has_arrival = True
        if self.state.status != PROCESSING:
            self._open_again()

    def _open_again(self) -> None:
        """Forget how the run had ended: what failed then counts no more."""
        state = self.state
        state.status, state.killed, state.message, state.end_ts = PROCESSING, False, "", None
        state.revision += 1
        for writer in state.members():
            if writer.status:  # else it has been forgotten before, and there may be thousands
                writer.status = ""
                self.changes.writers.add(writer.w)

    def _vanish(self, member: Writer) -> None:
        status, message = (SUCCESS, "") if member.worker else (FAIL, KILLED_MESSAGE)
        for task_no in list(member.inside):
            self._come_out(member, self.state.tasks[task_no], self.state.last_ts, status, message)
        member.presence = "vanished"
        self.changes.writers.add(member.w)

    def _come_out(self, member: Writer, task: Task, ts: int, status: str, message: str) -> None:
        task.occupants -= member.inside.pop(task.no)
        self._note_failure(task, status, message)
        if task.occupants <= 0:
            self._end_attempt(task, ts)

    def _note_failure(self, task: Task, status: str, message: str) -> None:
        attempt = task.attempt
        if attempt is not None and status == FAIL and attempt.status != FAIL:
            attempt.status, attempt.message = FAIL, message
            self.changes.attempts[task.no, attempt.number] = attempt

    def _end_attempt(self, task: Task, ts: int) -> None:
        attempt = task.attempt
        if attempt is None or attempt.end_ts is not None:
            return
        attempt.end_ts = max(ts, attempt.start_ts)
        attempt.status = FAIL if attempt.status == FAIL else SUCCESS
        task.status, task.message = attempt.status, attempt.message
        self.changes.attempts[task.no, attempt.number] = attempt
        self.changes.tasks.add(task.no)

    def _add_new(self, known: dict[str, Any], told: dict[str, Any]) -> None:
        """Add what is new to what was known; whoever said a key first has named it."""
        new = {key: value for key, value in told.items() if key not in known}
        if new:
            known.update(new)
            self.weight += len(to_json(new))


def weigh(state: RunState) -> int:
    """Return about how many bytes a run takes in memory, by its names and parameters."""
    names = [*state.writers, *(name for keys in state.series.values() for name in keys)]
    names += ["".join(task.path) for task in state.tasks]
    maps = [state.parameters, state.config]
    maps += [task.attempt.parameters for task in state.tasks if task.attempt is not None]
    return sum(NAME_BYTES + len(name) for name in names) + sum(len(to_json(m)) for m in maps if m)
