"""Git's configuration file, read as text: nothing in it is run, and no other file is included."""

from __future__ import annotations

import re
from typing import Final

_SECTION: Final = re.compile(r'\s*\[\s*([\w.-]+)(?:\s+"((?:[^"\\]|\\.)*)")?\s*\]')
_KEY: Final = re.compile(r"\s*([A-Za-z][\w-]*)\s*(?:=(.*))?", re.DOTALL)
_CONTINUATION: Final = re.compile(r"(?<!\\)((?:\\\\)*)\\\r?\n")
_ESCAPE: Final = re.compile(r"\\(.)")
_ESCAPES: Final = {"n": "\n", "t": "\t", "b": "\b"}
_TRUE: Final = ("true", "yes", "on", "1")


class Config:
    """The settings of a repository, by `section.subsection.key`, section and key in lower case.

    Of a setting that stands there more than once the last counts; of URLs, the first.
    """

    def __init__(self, text: str) -> None:
        self._values = _parse(text)

    def get(self, name: str, default: str = "") -> str:
        """Return the value of a setting."""
        return self._values.get(name, [default])[-1]

    def names(self, prefix: str) -> list[str]:
        """Return the names of all settings that begin like this."""
        return [name for name in self._values if name.startswith(prefix)]

    def is_on(self, name: str, default: bool) -> bool:
        """Tell whether a setting is true."""
        return self.get(name).lower() in _TRUE if name in self._values else default

    def remote_url(self) -> str:
        """Return the URL of the remote `origin`, else of the first that has one; as it stands."""
        names = [name for name in self.names("remote.") if name.endswith(".url")]
        if not names:
            return ""
        return self._values["remote.origin.url" if "remote.origin.url" in names else names[0]][0]


def _parse(text: str) -> dict[str, list[str]]:
    found: dict[str, list[str]] = {}
    section = ""
    for line in _CONTINUATION.sub(r"\1", text.removeprefix("\ufeff")).split("\n"):
        rest = line
        if (heading := _SECTION.match(line)) is not None:
            section = _section_name(*heading.groups())
            rest = line[heading.end() :]
        if (pair := _KEY.match(rest)) is not None:
            value = "true" if pair[2] is None else _value(pair[2])
            found.setdefault(f"{section}.{pair[1].lower()}", []).append(value)
    return found


def _section_name(name: str, subsection: str | None) -> str:
    if subsection is None:
        return name.lower()
    return name.lower() + "." + _ESCAPE.sub(r"\1", subsection)


def _value(text: str) -> str:
    """Return a value without its quotes, escapes and comment."""
    kept: list[str] = []
    is_quoted = False
    characters = iter(text.strip())
    for character in characters:
        if character == "\\":
            escaped = next(characters, "")
            kept.append(_ESCAPES.get(escaped, escaped))
        elif character == '"':
            is_quoted = not is_quoted
        elif character in "#;" and not is_quoted:
            return "".join(kept).rstrip()
        else:
            kept.append(character)
    return "".join(kept)
