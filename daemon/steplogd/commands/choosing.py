"""What a command line names, found: a backend of the configuration, a run of the run log."""

from __future__ import annotations

from typing import TYPE_CHECKING

from steplog.errors import SteplogError
from steplog.store_reader import find_run
from steplogd.config import nearest

if TYPE_CHECKING:
    from collections.abc import Collection

    from steplogd.store.database import Database


class BackendNotFound(SteplogError, LookupError):
    """No backend of that name is known; the text names the nearest one."""


def check_backend(name: str, known: Collection[str]) -> None:
    """Refuse a backend that nobody knows.

    Raises:
        BackendNotFound: It is none of these.
    """
    if name in known:
        return
    hint = nearest(name, known) if known else "; the configuration has none at all"
    raise BackendNotFound(f"There is no backend {name!r}{hint}")


def check_run(run_id: str | None, database: Database) -> None:
    """Refuse a run that the run log does not have; None is all of them.

    Raises:
        InvalidName: It is no run id.
        RunNotFound: It has no such run.
    """
    if run_id is not None:
        with database.reading() as connection:
            find_run(connection, run_id)
