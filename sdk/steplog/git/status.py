"""Which tracked files differ from the commit that is checked out, staged or not."""

from __future__ import annotations

import os
from contextlib import closing
from typing import TYPE_CHECKING

from steplog.git.files import Files
from steplog.git.index import read_index
from steplog.git.objects import Objects
from steplog.git.repository import Repository
from steplog.git.staged import Staged

if TYPE_CHECKING:
    from steplog.git.bounds import Deadline


class Status:
    """The comparison of a repository's commit, index and work tree.

    Attributes:
        changed: The paths that differ, as far as was looked; untracked files are none of them.
    """

    def __init__(self, repository: Repository, deadline: Deadline) -> None:
        self.changed: set[bytes] = set()
        self._repository = repository
        self._deadline = deadline

    def look(self, commit: bytes) -> None:
        """Compare all.

        Raises:
            Unreadable: The repository is broken, or of a kind that is not understood.
            OutOfTime: There is more to look at than fits into the time.
            OSError: A file cannot be read.
        """
        repository, deadline = self._repository, self._deadline
        index = read_index(repository.folder / "index", repository.hash_bytes, deadline)
        objects = Objects(repository.common / "objects", repository.hash_bytes, deadline)
        with closing(objects):
            self.changed.update(Staged(index, objects).changes(objects.tree_of(commit)))
        with closing(Files(repository, index, deadline, self._is_submodule_at)) as files:
            self.changed.update(files.changes())

    def _is_submodule_at(self, path: bytes, commit: bytes) -> bool:
        work_tree = self._repository.work_tree / os.fsdecode(path)
        if not os.path.lexists(work_tree / ".git"):  # it was not asked for
            return True
        submodule = Repository(work_tree)
        if submodule.head() != commit:
            return False
        status = Status(submodule, self._deadline)
        status.look(commit)
        return not status.changed
