"""The files for systemd that come with steplog, filled in for where it is installed."""

from __future__ import annotations

import re
from pathlib import Path
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

MARK: Final = "# Written by `steplogd install`"
"""How a file of ours begins; what does not is another's, and is left alone."""

SHARED_HOME: Final = "/var/lib/steplog"
"""The home of the shared daemon where its configuration names no other."""

_ENV: Final = "/usr/bin/env"
_PROGRAM: Final = f"{_ENV} steplogd"
_REFUSED: Final = "\"'\\$"
"""What systemd takes in no name of an executable, but in any argument."""

_UNIT: Final = "[Unit]\n"
_EXEC_START: Final = "ExecStart="

_WRITTEN: Final = {"\\": "\\\\", '"': '\\"', "%": "%%", "\n": "\\n", "\t": "\\t"}
"""How a unit spells what would end a word, or a line, or begin something else; in this order."""

_MEANT: Final = {"n": "\n", "t": "\t"}
_ESCAPED: Final = re.compile(r"\\(.)")
_WORD: Final = re.compile(r'"(?:[^"\\]|\\.)*"|[^\s"]+')


def template(name: str) -> str:
    """Return a file as it comes with steplog: in its wheel, else in its repository.

    Raises:
        OSError: It is in neither.
    """
    installed = Path(__file__).parents[1] / "units"
    folder = installed if installed.is_dir() else Path(__file__).parents[3] / "systemd"
    return (folder / name).read_text("utf-8")


def marked(text: str, version: str) -> str:
    """Return a file's text with our mark before it.

    It names the version, so that a newer steplog makes another file, and its daemon is restarted.
    """
    return f"{MARK} of steplog {version}, which replaces it when it is run again.\n{text}"


def filled_in(
    unit: str,
    program: Sequence[str],
    arguments: Sequence[str] = (),
    environment: Mapping[str, str] | None = None,
    writable: Sequence[str] = (),
    read: Sequence[str] = (),
) -> str:
    """Return a unit that starts the daemon where it is installed.

    Args:
        unit: A template with one `ExecStart`.
        program: What stands for `/usr/bin/env steplogd`.
        arguments: What follows `run`, in place of what the template says.
        environment: Variables for the daemon.
        writable: Folders that the daemon writes to, beside those of the template; what is mounted
            there comes first, and lasts until it is drained.
        read: What it reads beside those; what is mounted there comes first, too.
    """
    before, start, rest = unit.partition(_EXEC_START)
    line, _, after = rest.partition("\n")
    if any(character in program[0] for character in _REFUSED):
        program = (_ENV, *program)
    told = ["run", *map(quoted, arguments)] if arguments else [line.removeprefix(_PROGRAM).strip()]
    settings = [" ".join([*map(quoted, program), *told])]
    for name, value in (environment or {}).items():
        settings.append(f"Environment={quoted(f'{name}={value}', is_argument=False)}")
    paths = [quoted(path, is_argument=False) for path in writable]
    settings += [f"ReadWritePaths={path}" for path in paths]
    paths += [quoted(path, is_argument=False) for path in read]
    mounts = "".join(f"RequiresMountsFor={path}\n" for path in paths)
    before = before.replace(_UNIT, f"{_UNIT}{mounts}", 1)
    return before + start + "\n".join(settings) + "\n" + after


def over_home(text: str, home: str) -> str:
    """Return a file of users or folders that is for this home, in place of the usual one."""
    paths = re.compile(rf"{re.escape(SHARED_HOME)}(/\w+)?(?!\S)")
    return paths.sub(lambda match: quoted(home + (match[1] or ""), is_argument=False), text)


def quoted(text: str, *, is_argument: bool = True) -> str:
    """Return a text that systemd reads back as one word, whatever is in it.

    Args:
        text: The word.
        is_argument: Whether it stands in a command, where `$` begins a variable.
    """
    for character, written in _WRITTEN.items():
        text = text.replace(character, written)
    if is_argument:
        text = text.replace("$", "$$")
    is_plain = text and not any(character in " '\"\\;#" for character in text)
    return text if is_plain else f'"{text}"'


def unquoted(line: str, *, is_command: bool = True) -> list[str]:
    """Return the words of a line that was put together of quoted ones."""
    for character in "$%" if is_command else "%":
        line = line.replace(character * 2, character)
    found: list[str] = []
    for word in _WORD.findall(line):
        inner = word[1:-1] if word.startswith('"') else word
        found.append(_ESCAPED.sub(lambda match: _MEANT.get(match[1], match[1]), inner))
    return found
