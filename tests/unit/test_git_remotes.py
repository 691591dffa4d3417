"""What is told of where a repository comes from: its remote, without what grants access."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from steplog.git import identity
from steplog.git.config import Config
from steplog.git.remotes import MAX_URL_CHARACTERS, without_credentials
from tests.repositories import git

if TYPE_CHECKING:
    from pathlib import Path


@pytest.mark.parametrize(
    ("url", "told"),
    [
        ("https://example.org/a/b.git", "https://example.org/a/b.git"),
        ("https://user:pw@example.org/a/b.git", "https://example.org/a/b.git"),
        ("https://token@example.org/a/b.git", "https://example.org/a/b.git"),
        ("https://user:p@w@example.org:8443/a", "https://example.org:8443/a"),
        ("https://user:p/w@example.org/a", "https://example.org/a"),
        ("https://user:p#w@example.org/a", "https://example.org/a"),
        ("https://user:p?w@example.org/a", "https://example.org/a"),
        ("HTTPS://user:pw@example.org/a", "HTTPS://example.org/a"),
        ("http://oauth2:token@[::1]:80/a", "http://[::1]:80/a"),
        ("https://user:@example.org/a", "https://example.org/a"),
        ("https://:pw@example.org/a", "https://example.org/a"),
        ("https://user:p/w@example.org", "https://example.org"),
        ("ssh://user:p/w@example.org/a", "ssh://user@example.org/a"),
        ("https://[::1]/a@b", "https://[::1]/a@b"),
        ("https://example.org:8443/@scope/a", "https://example.org:8443/@scope/a"),
        ("https://example.org/a?private_token=x", "https://example.org/a"),
        ("https://example.org/a#token", "https://example.org/a"),
        ("ftp://user:pw@example.org/a", "ftp://example.org/a"),
        ("git://user:pw@example.org/a", "git://example.org/a"),
        ("ssh://git@example.org:22/a", "ssh://git@example.org:22/a"),
        ("ssh://user:pw@example.org/a", "ssh://user@example.org/a"),
        ("git+ssh://user:pw@example.org/a", "git+ssh://user@example.org/a"),
        ("git@example.org:a/b.git", "git@example.org:a/b.git"),
        ("user:pw@example.org:a/b.git", "user@example.org:a/b.git"),
        ("example.org:a/b@c.git", "example.org:a/b@c.git"),
        ("helper::https://user:pw@example.org/a", "helper::https://example.org/a"),
        ("codecommit::eu://profile@a", "codecommit::eu://a"),
        ("ext::sh -c 'curl -H token'", ""),
        ("/srv/git/a@b.git", "/srv/git/a@b.git"),
        ("../a:b@c", "../a:b@c"),
        ("file:///srv/git/a.git", "file:///srv/git/a.git"),
        ("", ""),
    ],
)
def test_credentials_are_removed(url: str, told: str) -> None:
    """A user's name, a password or a token is not told, whatever the URL; the address is."""
    assert without_credentials(url) == told


def test_long_url_is_not_told() -> None:
    """What is told is bounded, and no part of a token is left of a longer one."""
    assert without_credentials(f"https://{'a' * MAX_URL_CHARACTERS}@example.org/a") == ""


def test_url_of_origin_goes_before_others(tmp_path: Path) -> None:
    """Of several remotes `origin` is told, else the first."""
    git(tmp_path, "init")
    git(tmp_path, "remote", "add", "first", "https://user:pw@example.org/first")
    git(tmp_path, "remote", "add", "second", "https://example.org/second")
    assert (identity(tmp_path) or {})["code_identifier_url"] == "https://example.org/first"
    git(tmp_path, "remote", "add", "origin", "git@example.org:origin")

    assert (identity(tmp_path) or {})["code_identifier_url"] == "git@example.org:origin"


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ('[a "B.c"]\n\tKey = v\n', "v"),
        ('[A "B.c"] key=v ; why\n', "v"),
        ('[a "B.c"]\nkey = "v # w" # why\n', "v # w"),
        ('[a "B.c"]\nkey = v \\"w\\" \\\\\n', 'v "w" \\'),
        ('[a "B.c"]\nkey = v\\\n w\n', "v w"),
        ('[a "b.c"]\nkey = w\n# [a "B.c"]\n[a "B.c"]\n; key = w\nkey = v\n', "v"),
        ('[a "B.c"]\nkey = w\nkey = v\n', "v"),
        ('[a "B.c"]\nkey =\n', ""),
        ('[a "B\\.c"]\nkey = v\n', "v"),
        ('\ufeff[a "B.c"]\r\nkey = v\r\n', "v"),
    ],
)
def test_setting_is_read_as_git_reads_it(tmp_path: Path, text: str, value: str) -> None:
    """Sections, quotes, escapes, comments and lines that go on."""
    (tmp_path / "config").write_text(text, newline="")
    told = git(tmp_path, "config", "--file", str(tmp_path / "config"), "--get", "a.B.c.key")

    assert Config(text).get("a.B.c.key", "missing") == value == told.removesuffix("\n")


def test_switches_are_read() -> None:
    """A switch may be given in several ways, or not at all."""
    config = Config("[core]\na = true\nb = FALSE\nc\nd = 0\n")

    assert [config.is_on(f"core.{name}", default=True) for name in "abcdx"] == [
        True,
        False,
        True,
        False,
        True,
    ]
