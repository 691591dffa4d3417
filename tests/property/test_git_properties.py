"""Properties of the look at a repository: it agrees with git, and nothing makes it raise."""

from __future__ import annotations

import shutil
import tempfile
from contextlib import suppress
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from steplog.git import identity
from steplog.git.bounds import Deadline
from steplog.git.repository import Repository
from steplog.git.status import Status
from tests.repositories import changed_files, git, make_repository

NAMES = [
    "train.py",
    "model/net.py",
    "model/deep/layer.py",
    "model",
    "model.py",
    "new",
    "new/a",
    "link",
]
FILES = [".git/HEAD", ".git/index", ".git/config", ".git/refs/heads/main", "packed", "pack", "idx"]

TARGETS = ["zeta.txt", "."]  # none in a circle: git passes over what lies behind such a link

names = st.sampled_from(NAMES)
edits = st.one_of(
    st.tuples(st.just("write"), names, st.sampled_from(["one\n", "two\n", "three\n"])),
    st.tuples(st.just("link"), names, st.sampled_from(TARGETS)),
    st.tuples(st.just("chmod"), names, st.sampled_from(["644", "755"])),
    st.tuples(st.sampled_from(["touch", "remove"]), names, st.just("")),
    st.tuples(st.just("git"), st.sampled_from(["add", "rm", "reset", "restore"]), names),
    st.tuples(
        st.just("run"),
        st.sampled_from(["commit -m x", "add --all", "gc", "read-tree HEAD", "stash"]),
        st.just(""),
    ),
    st.tuples(st.just("run"), st.sampled_from(["update-index --index-version 4"]), st.just("")),
)
GIT = {
    "add": ("add", "--all", "--"),
    "rm": ("rm", "-r", "--cached", "--force", "--"),
    "reset": ("reset", "--"),
    "restore": ("checkout", "HEAD", "--"),
}


def clear(path: Path) -> None:
    """Remove whatever is at a path, and files in place of the folders that lead there."""
    for place in (path, *path.parents):
        if place.is_symlink() or place.is_file():
            place.unlink()
    if path.is_dir():
        shutil.rmtree(path)


def apply(root: Path, kind: str, what: str, how: str) -> None:
    """Do one thing to a repository; what cannot be done is passed over."""
    path = root / what
    if kind == "git":
        git(root, *GIT[what], how)
    elif kind == "run":
        git(root, *what.split())
    elif kind == "touch":
        path.touch()
    elif kind == "chmod" and path.is_file():
        path.chmod(int(how, 8))
    elif kind in ("write", "link", "remove"):
        clear(path)
        path.parent.mkdir(parents=True, exist_ok=True)
        if kind == "write":
            path.write_text(how)
        elif kind == "link":
            path.symlink_to(how)


def found(root: Path) -> set[str]:
    """Return the tracked files that we see to differ."""
    repository = Repository(root)
    status = Status(repository, Deadline(30.0))
    head = repository.head()
    assert head is not None
    status.look(head)
    return {path.decode() for path in status.changed}


@settings(max_examples=60, deadline=None)
@given(st.lists(edits, min_size=1, max_size=10))
def test_the_same_files_differ_as_for_git(todo: list[tuple[str, str, str]]) -> None:
    """Whatever was edited, staged, committed and packed, before git looks and after."""
    with tempfile.TemporaryDirectory() as folder:
        root = make_repository(Path(folder) / "repository")
        for kind, what, how in todo:
            with suppress(AssertionError, OSError):  # git refuses what cannot be
                apply(root, kind, what, how)
        ours = found(root)

        assert changed_files(root) == ours
        differing = git(root, "diff", "HEAD", "--name-only", "--no-renames", "-z")
        assert set(differing.split("\0")) - {""} <= ours
        with suppress(AssertionError):
            git(root, "update-index", "--refresh")
        assert found(root) == ours


@pytest.fixture(scope="module")
def packed(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Make a repository with everything in packs, and no cached trees."""
    root = make_repository(tmp_path_factory.mktemp("git") / "repository")
    for k in range(20):
        (root / f"{k}.txt").write_text(f"{k}")
        git(root, "add", "--all")
        git(root, "commit", "-m", "x")
    git(root, "gc")
    git(root, "read-tree", "HEAD")
    git(root, "update-ref", "refs/heads/main", "HEAD~1")
    for pack in (root / ".git" / "objects" / "pack").iterdir():
        pack.chmod(0o644)
    return root


@settings(max_examples=300, deadline=None)
@given(
    which=st.sampled_from(FILES),
    place=st.floats(0, 1, exclude_max=True),
    other=st.binary(max_size=8),
    cut=st.booleans(),
)
def test_broken_bytes_raise_nothing(
    packed: Path, which: str, place: float, other: bytes, cut: bool
) -> None:
    """Wherever one of git's files is broken, there is an answer."""
    path = {
        "packed": packed / ".git" / "packed-refs",
        "pack": next((packed / ".git" / "objects" / "pack").glob("*.pack")),
        "idx": next((packed / ".git" / "objects" / "pack").glob("*.idx")),
    }.get(which, packed / which)
    whole = path.read_bytes()
    at = int(place * len(whole))
    try:
        path.write_bytes(whole[:at] + other + (b"" if cut else whole[at + len(other) :]))
        told = identity(packed)
    finally:
        path.write_bytes(whole)

    assert told is not None
    assert told["code_identifier_dependable"] is False
    assert told["code_identifier_message"] != ""
