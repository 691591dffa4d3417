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
    """Return the text that `path_of` makes this path of; its name where that says it all."""
    if len(path) == 1 and path_of(path[0]) == path:
        return path[0]
    import json

    return json.dumps(path)
