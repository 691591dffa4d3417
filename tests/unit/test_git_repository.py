"""Where a repository lies and what it is at: layouts of the real git, and broken ones."""

from __future__ import annotations

import hashlib
import os
import sys
from contextlib import closing
from types import ModuleType
from typing import TYPE_CHECKING

import pytest

from steplog.git import identity
from steplog.git.bounds import Deadline
from steplog.git.objects import Objects
from steplog.git.search import find_work_tree
from tests.repositories import commit, git, head, look, make_repository, write

if TYPE_CHECKING:
    from pathlib import Path

EMPTY_TREE = "4b825dc642cb6eb9a060e54bf8d69288fbee4904"


def is_at(folder: Path, commit_id: str) -> bool:
    """Tell whether a repository is at a commit, and clean."""
    found = look(folder)
    assert found["code_identifier_message"] == ""
    return bool(found["code_identifier"] == commit_id and found["code_identifier_dependable"])


def test_no_repository_is_nothing_to_tell(tmp_path: Path) -> None:
    """Outside of any repository there is no identity; a folder named `.git` makes none."""
    (tmp_path / ".git").mkdir()

    assert identity(tmp_path) is None
    assert identity(tmp_path / "missing") is None


def test_repository_is_found_from_within(repository: Path) -> None:
    """A folder, or a file that is not there, belongs to the repository around it."""
    assert is_at(repository / "model" / "deep", head(repository))
    assert is_at(repository / "new" / "train.pyz", head(repository))


def test_ceiling_is_not_passed(repository: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Git's own variable keeps the search from going up into a folder."""
    monkeypatch.setenv("GIT_CEILING_DIRECTORIES", f"/elsewhere:{repository}")

    assert find_work_tree(repository / "model") is None
    assert find_work_tree(repository) == repository


def test_packed_repository_is_read(repository: Path) -> None:
    """Objects that are deltas of others in a pack, and branches in `packed-refs`, are found."""
    for k in range(30):
        write(repository / "many" / f"{k:02}.txt", f"{k}")
        commit(repository)
    git(repository, "gc")
    assert not (repository / ".git" / "refs" / "heads" / "main").exists()
    git(repository, "read-tree", "HEAD~3")  # without cached trees of HEAD
    git(repository, "update-index", "--add", *(f"many/{k:02}.txt" for k in range(30)))

    assert is_at(repository, head(repository))


def test_deltas_by_name_are_read(repository: Path) -> None:
    """A pack may name the base of a delta in place of where it lies."""
    for k in range(30):
        write(repository / "many" / f"{k:02}.txt", f"{k}")
        commit(repository)
    git(repository, "-c", "repack.useDeltaBaseOffset=false", "repack", "-adf")
    git(repository, "read-tree", "HEAD")

    assert is_at(repository, head(repository))


def test_every_tree_in_a_pack_is_read(repository: Path) -> None:
    """Folders of thousands of names, far from their bases, are what git says that they are."""
    blob = git(repository, "rev-parse", "HEAD:train.py").strip()
    lines = [f"100644 blob {blob}\t{hashlib.sha256(b'%d' % k).hexdigest()}" for k in range(3000)]
    trees = []
    for k in range(0, 3000, 500):
        changed = "\n".join([*lines[:k], *lines[k + 1 :], f"040000 tree {EMPTY_TREE}\t{k}"])
        trees.append(git(repository, "mktree", "--missing", stdin=changed).strip())
        message = git(repository, "commit-tree", "-m", f"{k}", trees[-1]).strip()
        git(repository, "update-ref", f"refs/heads/{k}", message)
    git(repository, "gc")
    objects = Objects(repository / ".git" / "objects", 20, Deadline(30.0))
    with closing(objects):
        found = {tree: list(objects.tree(bytes.fromhex(tree))) for tree in trees}

    assert not list((repository / ".git" / "objects").glob("[0-9a-f][0-9a-f]"))
    for tree in trees:
        told = git(
            repository, "ls-tree", "-z", "--format=%(objectmode) %(path) %(objectname)", tree
        )
        assert [
            f"{entry.mode:06o} {entry.name.decode()} {entry.oid.hex()}" for entry in found[tree]
        ] == told.split("\0")[:-1]


@pytest.mark.parametrize(
    ("scheme", "option"),
    [("", "--shared"), ("", "--local"), ("", "--no-hardlinks"), ("file://", "--depth=1")],
)
def test_clone_is_read(repository: Path, tmp_path: Path, scheme: str, option: str) -> None:
    """Right after cloning it is clean, also when it borrows all objects; the URL is where from."""
    commit(repository)
    url = f"{scheme}{repository}"
    git(tmp_path, "clone", option, url, "clone")
    git(tmp_path / "clone", "read-tree", "HEAD")

    assert is_at(tmp_path / "clone", head(repository))
    assert look(tmp_path / "clone")["code_identifier_url"] == url


def test_detached_head_is_read(repository: Path) -> None:
    """A commit may be checked out without a branch."""
    first = head(repository)
    commit(repository)
    git(repository, "checkout", "--detach", first)

    assert is_at(repository, first)


def test_unborn_branch_has_no_commit(tmp_path: Path) -> None:
    """Before the first commit there is nothing to depend on."""
    git(tmp_path, "init")

    assert look(tmp_path) == {
        "code_identifier": "",
        "code_identifier_dependable": False,
        "code_identifier_url": "",
        "code_identifier_message": "no commit yet",
    }


def test_clone_without_files_differs_in_all(repository: Path, tmp_path: Path) -> None:
    """Without an index, no committed file is there."""
    git(tmp_path, "clone", "--no-checkout", str(repository), "clone")

    assert look(tmp_path / "clone")["code_identifier_message"] == (
        "changed files: link, model/deep/layer.py, model/net.py, run.sh, train.py, zeta.txt"
    )


def test_worktree_has_its_own_head_and_files(repository: Path, tmp_path: Path) -> None:
    """Of two work trees of one repository, each is told apart."""
    first = head(repository)
    git(repository, "worktree", "add", "-b", "other", str(tmp_path / "other"))
    write(tmp_path / "other" / "new.py", "new")
    second = commit(tmp_path / "other")
    write(repository / "train.py", "something else")

    assert is_at(tmp_path / "other", second)
    assert look(repository)["code_identifier"] == first
    assert not look(repository)["code_identifier_dependable"]


def test_names_of_sha256_are_read(tmp_path: Path) -> None:
    """A repository with longer names is read as any other."""
    folder = make_repository(tmp_path / "long", "--object-format=sha256")
    (folder / "train.py").touch()
    assert is_at(folder, head(folder))
    git(folder, "gc")
    git(folder, "read-tree", "HEAD")

    assert len(head(folder)) == 64
    assert is_at(folder, head(folder))


@pytest.mark.parametrize(
    ("arguments", "reason"),
    [
        (("update-index", "--split-index"), "its index has the part 'link'"),
        (("sparse-checkout", "set", "--cone", "--sparse-index", "x"), "has the part 'sdir'"),
        (("config", "core.worktree", "/"), "its files lie elsewhere (core.worktree)"),
        (("config", "extensions.refStorage", "reftable"), "it has the extension refstorage"),
    ],
)
def test_what_is_not_understood_is_not_guessed(
    repository: Path, arguments: tuple[str, ...], reason: str
) -> None:
    """A layout that needs more than is read here is not dependable, and said to be that."""
    git(repository, *arguments)
    found = look(repository)

    assert not found["code_identifier_dependable"]
    assert found["code_identifier_message"].startswith("the repository could not be looked at: ")
    assert reason in found["code_identifier_message"]


BROKEN = {
    "HEAD": [b"", b"garbage", b"ref: refs/heads/../../x", b"ref: HEAD", b"\xff" * 40, b"ab" * 19],
    "refs/heads/main": [b"", b"ref: refs/heads/main", b"zz" * 20, b"00" * 20],
    "config": [b"[extensions]\nobjectFormat = md5\n"],
    "index": [b"", b"DIRC", b"DIRC\0\0\0\5\0\0\0\0" + b"\0" * 20, b"DIRC\0\0\0\2\0\0\0\7"],
    "commondir": [b"/nowhere"],
}


@pytest.mark.parametrize(
    ("name", "content"), [(name, content) for name in BROKEN for content in BROKEN[name]]
)
def test_broken_file_is_said_to_be_broken(repository: Path, name: str, content: bytes) -> None:
    """Nothing is raised, and nothing depended on."""
    (repository / ".git" / name).write_bytes(content)
    found = look(repository)

    assert not found["code_identifier_dependable"]
    assert found["code_identifier_message"].startswith("the repository could not be looked at: ")


def test_cut_index_is_said_to_be_cut(repository: Path) -> None:
    """Wherever it was cut off, it does not pass for a shorter one."""
    path = repository / ".git" / "index"
    whole = path.read_bytes()
    for size in range(whole.index(b"TREE") + len("TREE")):
        path.write_bytes(whole[:size])

        assert not look(repository)["code_identifier_dependable"], size


@pytest.mark.parametrize("name", ["HEAD", "index", "config", "refs/heads/main"])
@pytest.mark.parametrize("make", ["pipe", "folder", "link", "endless"])
def test_what_is_no_file_blocks_nothing(repository: Path, name: str, make: str) -> None:
    """A pipe, a folder or a device in place of one of git's files is not read."""
    path = repository / ".git" / name
    path.unlink()
    if make == "pipe":
        os.mkfifo(path)
    elif make == "folder":
        path.mkdir()
    else:
        path.symlink_to("/dev/zero" if make == "endless" else "/nowhere")
    found = look(repository)

    assert not found["code_identifier_dependable"]
    assert found["code_identifier_message"] != ""


@pytest.mark.parametrize("content", ["", "gitdir:", "gitdir: /nowhere", "gitdir: ../.git", "x"])
def test_file_that_leads_nowhere_is_said_to(tmp_path: Path, content: str) -> None:
    """A `.git` file whose repository is gone is a broken repository."""
    (tmp_path / ".git").write_text(content)

    assert not look(tmp_path)["code_identifier_dependable"]


def test_missing_object_is_said_to_be_missing(repository: Path) -> None:
    """The commit is told, as HEAD names it, though it is not there."""
    commit_id = head(repository)
    (repository / ".git" / "objects" / commit_id[:2] / commit_id[2:]).unlink()

    assert look(repository)["code_identifier"] == commit_id
    assert look(repository)["code_identifier_message"] == (
        f"the repository could not be looked at: the object {commit_id} is missing"
    )


@pytest.mark.parametrize("suffix", ["idx", "pack"])
@pytest.mark.parametrize("size", [0, 7, 40])
def test_cut_pack_is_said_to_be_broken(repository: Path, suffix: str, size: int) -> None:
    """A pack that ends too early costs the look alone."""
    git(repository, "gc")
    (path,) = (repository / ".git" / "objects" / "pack").glob(f"*.{suffix}")
    path.chmod(0o644)
    os.truncate(path, min(size, path.stat().st_size // 2))

    assert not look(repository)["code_identifier_dependable"]


def test_main_script_goes_before_the_working_directory(
    repository: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The code that runs is where the script lies, through links too."""
    other = make_repository(tmp_path / "other")
    write(other / "only.py", "here")
    commit(other)
    (tmp_path / "linked.py").symlink_to(other / "train.py")
    main = ModuleType("__main__")
    main.__file__ = str(tmp_path / "linked.py")
    monkeypatch.setitem(sys.modules, "__main__", main)
    monkeypatch.chdir(repository)

    assert (identity() or {})["code_identifier"] == head(other)


@pytest.mark.parametrize("script", [None, sys.executable, os.__file__, pytest.__file__])
def test_installed_command_says_nothing_of_the_code(
    repository: Path, monkeypatch: pytest.MonkeyPatch, script: str | None
) -> None:
    """Without a script of the user's own, the code is where the process works."""
    main = ModuleType("__main__")
    main.__file__ = script
    monkeypatch.setitem(sys.modules, "__main__", main)
    monkeypatch.chdir(repository / "model")

    assert (identity() or {})["code_identifier"] == head(repository)


def test_working_directory_that_is_gone_stops_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """There is nothing to tell then."""
    (tmp_path / "gone").mkdir()
    monkeypatch.chdir(tmp_path / "gone")
    monkeypatch.delattr(sys.modules["__main__"], "__file__", raising=False)
    (tmp_path / "gone").rmdir()

    assert identity() is None
