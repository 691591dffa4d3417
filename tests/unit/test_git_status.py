"""Which tracked files differ from the commit: against repositories of the real git."""

from __future__ import annotations

import os
import signal
from typing import TYPE_CHECKING

import pytest

from steplog.git import MAX_NAMES, bounds, identity
from tests.repositories import changed_files, commit, git, head, look, make_repository, write

if TYPE_CHECKING:
    from pathlib import Path


def is_clean(folder: Path) -> bool:
    """Tell whether a repository is dependable; the message must agree."""
    found = look(folder)
    assert (found["code_identifier_message"] == "") == found["code_identifier_dependable"]
    return bool(found["code_identifier_dependable"])


def named(folder: Path) -> set[str]:
    """Return the changed files that the message names."""
    message = look(folder)["code_identifier_message"]
    return set(message.removeprefix("changed files: ").split(", ")) - {""}


def change_unseen(path: Path, text: str, seconds: float) -> None:
    """Change a file so that it looks to git as it was committed, seconds before it wrote that."""
    root = path.parent
    committed = bytes.fromhex(git(root, "rev-parse", f"HEAD:{path.name}"))
    path.write_text(text)
    git(root, "add", path.name)
    staged = bytes.fromhex(git(root, "rev-parse", f":{path.name}"))
    index = root / ".git" / "index"
    index.write_bytes(index.read_bytes().replace(staged, committed))
    written = path.stat().st_mtime + seconds
    os.utime(index, (written, written))


def test_clean_repository_is_dependable(repository: Path) -> None:
    """The commit is told, and nothing is to be said of it."""
    assert look(repository) == {
        "code_identifier": head(repository),
        "code_identifier_dependable": True,
        "code_identifier_url": "",
        "code_identifier_message": "",
    }


def test_untracked_files_do_not_count(repository: Path) -> None:
    """What git does not know is no change of what it knows."""
    write(repository / "model" / "notes.txt", "new")

    assert is_clean(repository)


def test_modified_file_is_named(repository: Path) -> None:
    """A file of another size is a change."""
    write(repository / "model" / "net.py", "something else")

    assert named(repository) == {"model/net.py"}
    assert not is_clean(repository)


def test_modification_of_the_same_size_and_time_is_seen(repository: Path) -> None:
    """Not even the old modification time hides it."""
    write(repository / "train.py", "This is train.py\n")

    assert named(repository) == {"train.py"}


def test_touched_file_is_clean(repository: Path) -> None:
    """Another time alone is no change."""
    (repository / "train.py").touch()

    assert is_clean(repository)


def test_staged_change_is_named(repository: Path) -> None:
    """A change that is in the index already still differs from the commit."""
    write(repository / "model" / "deep" / "layer.py", "staged")
    git(repository, "add", "--all")

    assert named(repository) == {"model/deep/layer.py"}


def test_staged_change_that_was_undone_in_the_file_is_named(repository: Path) -> None:
    """As for git, the index differs from the commit, and the file from the index."""
    write(repository / "train.py", "staged")
    git(repository, "add", "--all")
    write(repository / "train.py", "this is train.py\n")

    assert named(repository) == {"train.py"} == changed_files(repository)


@pytest.mark.parametrize("cached", [(), ("--cached",)])
def test_removed_file_is_named(repository: Path, cached: tuple[str, ...]) -> None:
    """Whether it is gone or only no longer tracked."""
    git(repository, "rm", *cached, "model/net.py")

    assert named(repository) == {"model/net.py"}


def test_deleted_file_is_named(repository: Path) -> None:
    """A file that is not there differs."""
    (repository / "model" / "net.py").unlink()

    assert named(repository) == {"model/net.py"}


def test_new_staged_file_is_named(repository: Path) -> None:
    """It is tracked from then on, and not committed; announced alone it is the same."""
    for name in ("a.py", "model/deep/z.py", "zz/new.py", "announced.py"):
        write(repository / name, "new")
    git(repository, "add", "a.py", "model", "zz")
    git(repository, "add", "--intent-to-add", "announced.py")

    assert named(repository) == {"a.py", "model/deep/z.py", "zz/new.py", "announced.py"}


def test_executable_file_differs_from_one_that_is_not(repository: Path) -> None:
    """Its mode is committed, unless the repository says that modes mean nothing."""
    (repository / "train.py").chmod(0o755)
    assert named(repository) == {"train.py"}
    git(repository, "config", "core.fileMode", "false")

    assert is_clean(repository)


def test_staged_mode_differs_where_files_have_none(repository: Path) -> None:
    """What is in the index counts, whatever the file system can say."""
    git(repository, "config", "core.fileMode", "false")
    git(repository, "update-index", "--chmod=+x", "train.py")

    assert named(repository) == {"train.py"} == changed_files(repository)


def test_symbolic_link_is_its_target(repository: Path) -> None:
    """A link to something else is a change; a new one to the same is none."""
    (repository / "link").unlink()
    (repository / "link").symlink_to("train.py")
    assert is_clean(repository)
    (repository / "link").unlink()
    (repository / "link").symlink_to("run.sh")

    assert named(repository) == {"link"}


def test_file_in_place_of_a_link_differs(repository: Path) -> None:
    """Even if it holds the name that the link led to."""
    (repository / "link").unlink()
    write(repository / "link", "train.py")

    assert named(repository) == {"link"}


def test_link_in_place_of_a_folder_is_not_followed(repository: Path, tmp_path: Path) -> None:
    """The very same files, seen through a link, are not those that are tracked."""
    (repository / "model").rename(tmp_path / "elsewhere")
    (repository / "model").symlink_to(tmp_path / "elsewhere")

    assert named(repository) == {"model/net.py", "model/deep/layer.py"} == changed_files(repository)


def test_pipe_in_place_of_a_file_blocks_nothing(repository: Path) -> None:
    """It is a change, and is not opened."""
    (repository / "train.py").unlink()
    os.mkfifo(repository / "train.py")

    assert named(repository) == {"train.py"}


def test_file_that_git_takes_for_unchanged_is_looked_at(repository: Path) -> None:
    """A promise to git makes no run dependable."""
    git(repository, "update-index", "--assume-unchanged", "train.py")
    assert is_clean(repository)
    write(repository / "train.py", "something else")

    assert named(repository) == {"train.py"}


def test_file_that_a_sparse_work_tree_leaves_out_is_no_change(repository: Path) -> None:
    """It is absent because somebody asked for that."""
    git(repository, "sparse-checkout", "set", "--no-cone", "/train.py")

    assert not (repository / "model").exists()
    assert is_clean(repository)


@pytest.mark.parametrize("version", ["2", "3", "4"])
def test_every_version_of_the_index_is_read(repository: Path, version: str) -> None:
    """Also when flags make entries longer, and paths are written as ends alone."""
    git(repository, "update-index", "--index-version", version)
    git(repository, "sparse-checkout", "set", "--no-cone", "/train.py")
    assert is_clean(repository)
    write(repository / "train.py", "something else")

    assert named(repository) == {"train.py"}


def test_index_without_cached_trees_is_compared_name_by_name(repository: Path) -> None:
    """The short way is not the only one."""
    git(repository, "read-tree", "HEAD")
    git(repository, "update-index", "--force-remove", "zeta.txt")
    assert named(repository) == {"zeta.txt"}
    git(repository, "add", "zeta.txt")

    assert is_clean(repository)


def test_conflict_is_a_change(repository: Path) -> None:
    """A file that a merge has left unsettled is not the committed one."""
    git(repository, "checkout", "-b", "other")
    write(repository / "train.py", "theirs")
    commit(repository)
    git(repository, "checkout", "main")
    write(repository / "train.py", "ours")
    commit(repository)
    with pytest.raises(AssertionError):
        git(repository, "merge", "other")

    assert named(repository) == {"train.py"}


def test_conflict_of_two_new_files_is_a_change(repository: Path) -> None:
    """Even when the file is the committed one again: nobody has said that it is to stay."""
    git(repository, "checkout", "-b", "other")
    write(repository / "new.py", "theirs")
    commit(repository)
    git(repository, "checkout", "main")
    write(repository / "new.py", "ours")
    commit(repository)
    with pytest.raises(AssertionError):
        git(repository, "merge", "other")
    write(repository / "new.py", "ours")

    assert named(repository) == {"new.py"} == changed_files(repository)


@pytest.mark.parametrize(("is_racy", "found"), [(True, {"train.py"}), (False, set())])
def test_file_that_changed_as_the_index_was_written_is_read(
    repository: Path, is_racy: bool, found: set[str]
) -> None:
    """One that looks the same is trusted only if it is older than the index."""
    change_unseen(repository / "train.py", "This is train.py\n", 0 if is_racy else 1)

    assert named(repository) == found


def test_empty_file_is_clean(repository: Path) -> None:
    """A size of 0 may also be the truth."""
    write(repository / "model" / "__init__.py", "")
    commit(repository)

    assert is_clean(repository)


def test_file_that_lost_its_content_unseen_is_read(repository: Path) -> None:
    """A size of 0 in the index says that git wants the file to be read."""
    change_unseen(repository / "train.py", "", 1)

    assert named(repository) == {"train.py"}


def test_line_ends_that_git_was_asked_to_change_are_no_change(repository: Path) -> None:
    """With core.autocrlf; without it they are what they are."""
    (repository / "train.py").write_bytes(b"this is train.py\r\n")
    assert named(repository) == {"train.py"}
    git(repository, "config", "core.autocrlf", "input")

    assert is_clean(repository)


def test_names_are_bounded(repository: Path) -> None:
    """The first twenty are named, cut where need be, and the others counted."""
    for k in range(30):
        write(repository / f"{k:02}{'x' * 240}", "new")
    git(repository, "add", "--all")
    message = look(repository)["code_identifier_message"]

    assert message.endswith(" and 10 more")
    assert message.count(", ") == MAX_NAMES - 1
    assert len(message) < 5000


def test_name_that_is_no_text_stops_nothing(repository: Path) -> None:
    """It is named with a mark for what cannot be read."""
    path = repository / os.fsdecode(b"caf\xe9.py")
    path.write_bytes(b"new")
    git(repository, "add", "--all")

    assert named(repository) == {"caf�.py"}


def test_submodule_counts_as_what_it_holds(repository: Path, tmp_path: Path) -> None:
    """Another commit and a changed file in it are changes; one that was not fetched is none."""
    library = make_repository(tmp_path / "library")
    git(repository, "submodule", "add", str(library), "sub")
    commit(repository)
    assert is_clean(repository)
    assert look(repository / "sub")["code_identifier"] == head(library)
    write(repository / "sub" / "train.py", "something else")
    assert named(repository) == {"sub"} == changed_files(repository)
    git(repository / "sub", "commit", "--all", "-m", "x")
    assert named(repository) == {"sub"} == changed_files(repository)
    git(repository, "submodule", "deinit", "--force", "sub")

    assert is_clean(repository)


def test_what_takes_too_long_is_not_dependable(
    repository: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The commit is told all the same, and why nothing else is."""
    monkeypatch.setattr(bounds, "BUDGET_SECONDS", 0.0)

    assert look(repository) == {
        "code_identifier": head(repository),
        "code_identifier_dependable": False,
        "code_identifier_url": "",
        "code_identifier_message": "more files than could be looked at in 0 s",
    }


def test_signal_handler_may_raise_through_it(
    repository: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A program's own timeout is not taken for a broken repository."""

    def expire(*_: object) -> None:
        raise TimeoutError("too late")

    monkeypatch.setattr(
        bounds.Deadline, "check", lambda _: signal.raise_signal(signal.SIGUSR1), raising=True
    )
    before = signal.signal(signal.SIGUSR1, expire)
    try:
        with pytest.raises(TimeoutError, match="too late"):
            identity(repository)
    finally:
        signal.signal(signal.SIGUSR1, before)


def test_a_fresh_clone_is_clean_though_attributes_rewrite_its_files(
    repository: Path, tmp_path: Path
) -> None:
    """As git's own filter for large files does: what lies here is not what was committed."""
    (repository / ".gitattributes").write_text("*.bat text eol=crlf\n")
    (repository / "run.bat").write_bytes(b"echo hello\r\n")
    git(repository, "add", ".")
    git(repository, "commit", "-m", "m")
    clone = tmp_path / "clone"
    git(tmp_path, "clone", "--quiet", str(repository), str(clone))

    assert is_clean(clone)
    assert (clone / "run.bat").read_bytes() == b"echo hello\r\n"
