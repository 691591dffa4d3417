"""Which commit runs: read from git's own files, as a training starts no process for it."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

from steplog.errors import SteplogError, describe
from steplog.git.search import find_work_tree, work_tree_of_program
from steplog.interrupts import comes_from_signal_handler

if TYPE_CHECKING:
    from pathlib import Path

__all__ = ["identity"]

MAX_NAMES: Final = 20
"""How many changed files are named; of the others there is the count."""

_MAX_NAME_CHARACTERS: Final = 200
_MAX_REASON_CHARACTERS: Final = 500


def identity(start: Path | None = None) -> dict[str, Any] | None:
    """Return the fields of a `code` event for the repository that a place lies in.

    It takes some milliseconds, and about 0.2 seconds at most. Nothing is run, written or waited
    for, and nothing is raised but what a signal handler of the program raises meanwhile.

    Args:
        start: An absolute path; without one, the folder of the main script, else the working
            directory.

    Returns:
        The fields; None outside of any repository. Of one that is broken, or larger than can be
        looked at in time, the message says so, and it is not dependable.
    """
    told: dict[str, Any] | None = None
    try:
        work_tree = work_tree_of_program() if start is None else find_work_tree(start)
        if work_tree is not None:
            told = {"code_identifier": "", "code_identifier_dependable": False}
            _look(work_tree, told)
    except Exception as error:
        if comes_from_signal_handler(error):
            raise
        if told is not None:
            told["code_identifier_message"] = _reason(error)
    return told


def _look(work_tree: Path, told: dict[str, Any]) -> None:
    """Fill in the fields one after another, so that what comes before an error is known."""
    from steplog.git import bounds
    from steplog.git.remotes import without_credentials
    from steplog.git.repository import Repository
    from steplog.git.status import Status

    deadline = bounds.Deadline(bounds.BUDGET_SECONDS)
    repository = Repository(work_tree)
    told["code_identifier_url"] = _plain(without_credentials(repository.config.remote_url()))
    commit = repository.head()
    if commit is None:
        told["code_identifier_message"] = "no commit yet"
        return
    told["code_identifier"] = commit.hex()
    status = Status(repository, deadline)
    try:
        status.look(commit)
    except bounds.OutOfTime as error:
        told["code_identifier_message"] = "; ".join([*_changes(status.changed), str(error)])
    else:
        told["code_identifier_message"] = "".join(_changes(status.changed))
        told["code_identifier_dependable"] = not status.changed


def _changes(paths: set[bytes]) -> list[str]:
    """Return a phrase that names the changed files, if there are any."""
    if not paths:
        return []
    names = [path.decode("utf-8", "replace") for path in sorted(paths)[:MAX_NAMES]]
    rest = len(paths) - len(names)
    phrase = ", ".join(name[:_MAX_NAME_CHARACTERS] for name in names)
    return [f"changed files: {phrase}" + (f" and {rest:,} more" if rest else "")]


def _reason(error: Exception) -> str:
    text = str(error) if isinstance(error, SteplogError) else describe(error)
    return f"the repository could not be looked at: {_plain(text)[:_MAX_REASON_CHARACTERS]}"


def _plain(text: str) -> str:
    """Return a text without the lone surrogates of a path that is no UTF-8."""
    return text.encode("utf-8", "surrogateescape").decode("utf-8", "replace")
