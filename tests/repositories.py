"""Repositories made by the real git, for tests."""

from __future__ import annotations

import os
import subprocess
from typing import TYPE_CHECKING, Any

from steplog.git import identity
from tests.conftest import DEADLINE_SECONDS

if TYPE_CHECKING:
    from pathlib import Path

LONG_AGO = 1_500_000_000
_ENVIRONMENT = {
    "GIT_CONFIG_GLOBAL": "/dev/null",
    "GIT_CONFIG_NOSYSTEM": "1",
    "GIT_OPTIONAL_LOCKS": "0",  # or `git status` would write the index that it is compared by
    "GIT_AUTHOR_NAME": "a",
    "GIT_AUTHOR_EMAIL": "a@example.org",
    "GIT_COMMITTER_NAME": "a",
    "GIT_COMMITTER_EMAIL": "a@example.org",
}


def git(folder: Path, *arguments: str, stdin: str = "") -> str:
    """Run git, by nobody's settings, and return what it prints."""
    kept = {name: text for name, text in os.environ.items() if not name.startswith("GIT_")}
    settings = ("-c", "protocol.file.allow=always", "-c", "init.defaultBranch=main")
    done = subprocess.run(
        ["git", "-C", str(folder), *settings, *arguments],
        env={**kept, **_ENVIRONMENT},
        input=stdin.encode(),
        capture_output=True,
        timeout=DEADLINE_SECONDS,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    return done.stdout.decode("utf-8", "surrogateescape")


def write(path: Path, text: str) -> None:
    """Write a file as if long ago, so that it looks the same to git until it is changed."""
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text, encoding="utf-8")
    os.utime(path, (LONG_AGO, LONG_AGO))


def make_repository(folder: Path, *options: str) -> Path:
    """Make a repository with a commit of a few files, as a person would leave it."""
    folder.mkdir(parents=True)
    git(folder, "init", *options)
    for name in ("train.py", "model/net.py", "model/deep/layer.py", "run.sh", "zeta.txt"):
        write(folder / name, f"this is {name}\n")
    (folder / "run.sh").chmod(0o755)
    (folder / "link").symlink_to("train.py")
    commit(folder)
    return folder


def commit(folder: Path) -> str:
    """Commit all there is; return the commit."""
    git(folder, "add", "--all")
    git(folder, "commit", "--allow-empty", "-m", "x")
    return head(folder)


def head(folder: Path) -> str:
    """Return the commit that is checked out, as git tells it."""
    return git(folder, "rev-parse", "HEAD").strip()


def changed_files(folder: Path) -> set[str]:
    """Return the tracked files that differ from the commit, as git tells them."""
    told = git(folder, "status", "--porcelain", "-z", "--untracked-files=no", "--no-renames")
    return {line[3:] for line in told.split("\0") if line}


def look(folder: Path) -> dict[str, Any]:
    """Return the identity of a repository that was found."""
    found = identity(folder)
    assert found is not None
    return found
