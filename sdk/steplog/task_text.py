"""A task's path as the text of `STEPLOG_TASK`: one name, or a JSON array from the outermost on."""

from __future__ import annotations


def path_of(text: str) -> tuple[str, ...]:
    """Return the names from the outermost task to the one that a text, not empty, says.

    A text that begins with `[` and is a JSON array of texts, at least one, is a path; any other
    text is one name.
    """
    if not text.startswith("["):
        return (text,)
    import json  # only tasks within tasks need it

    try:
        names = json.loads(text)
    except (ValueError, RecursionError):
        return (text,)
    if names and all(isinstance(name, str) for name in names):
        return tuple(names)
    return (text,)


def text_of(path: tuple[str, ...]) -> str:
    """Return the text that `path_of` makes this path of; its name where any environment takes it.

    Any other name, one with a NUL or half a surrogate pair say, stands in an array in ASCII.
    """
    name = path[0]
    if len(path) == 1 and name.isascii() and name.isprintable() and name[:1] not in ("", "["):
        return name
    import json

    return json.dumps(path)
