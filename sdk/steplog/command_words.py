"""The words of a command as they may be told: without what is plainly a password or a key."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

_NAME: Final = (
    r"(?:[\w.]+[_.-])?(?:api[_-]?key|key|token|passwd|password|secret|credentials?)(?:[_-]\w+)?"
)
_OPTION: Final = re.compile(rf"--?{_NAME}", re.IGNORECASE)
_ASSIGNED: Final = re.compile(rf"((?:--?)?{_NAME}=).+", re.IGNORECASE | re.DOTALL)
USER_IN_URL: Final = re.compile(r"(?<=://)[^/\s'\"@]*(?:@[^/\s'\"@]*)*@")
"""Up to the last `@`, as a password may hold one that nobody escaped."""

MASK: Final = "…"


def without_secrets(words: Iterable[str]) -> Iterator[str]:
    """Yield the words, with a mask for what follows `--password`, `--token` or `API_KEY=`, say.

    So is the user in a URL. What a program calls otherwise, or takes without a name, is not known.
    """
    is_secret = False
    for word in words:
        yield MASK if is_secret and not word.startswith("-") else _plain(word)
        is_secret = _OPTION.fullmatch(word) is not None


def is_secret(name: str) -> bool:
    """Tell whether a variable of this name holds a password or a key."""
    return _ASSIGNED.fullmatch(f"{name}=?") is not None


def _plain(word: str) -> str:
    if _ASSIGNED.fullmatch(word):
        word = _ASSIGNED.sub(rf"\1{MASK}", word)
    return USER_IN_URL.sub("", word)
