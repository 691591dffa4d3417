"""A run log that lies in a folder in pieces, put together to one document. Pure."""

from __future__ import annotations

from typing import Any, Final

from steplog.importing.shape import RunLogMalformed

RUN_LOG: Final = "RunLog"
"""The piece that every such folder has; the others belong to it."""

PREFIXES: Final = ("StepLog-", "BranchLog-", "Parameter-")
"""How the names of the others begin. A step's or branch's name follows, and in older versions when
it was made, in nanoseconds: `StepLog-train-1795632498566898956`."""


def assemble(pieces: dict[str, Any]) -> dict[str, Any]:
    """Return the run log as one document, changing the pieces.

    Newer versions keep the steps with the run and the branches, older ones apart. A piece belongs
    to the one with the longest name that its own name begins with: a branch of a map may be named
    after any value, with dots as well.

    Args:
        pieces: The decoded files, by their names without `.json`.

    Raises:
        RunLogMalformed: A piece is missing, or none that can be put in its place.
    """
    document = _object(pieces[RUN_LOG], RUN_LOG)
    for name, parameters in pieces.items():
        if name.startswith("Parameter-"):
            _within(document, "parameters").update(_object(parameters, name))
    branches = _in_order(pieces, "BranchLog-")
    for name, step in _in_order(pieces, "StepLog-").items():
        owner = branches.get(_longest_owner(name, branches), document)
        _within(owner, "steps")[name] = step
    steps: dict[str, Any] = {}
    for owner in (document, *branches.values()):
        steps.update(_within(owner, "steps"))
    for name, branch in branches.items():
        owner_name = _longest_owner(name, steps)
        if not owner_name:
            raise RunLogMalformed(f"the step that the branch {name[:80]!r} belongs to is missing")
        _within(_object(steps[owner_name], owner_name), "branches")[name] = branch
    return document


def _in_order(pieces: dict[str, Any], prefix: str) -> dict[str, dict[str, Any]]:
    """Return the pieces of a kind by their internal names, the one made first first."""
    named: dict[str, dict[str, Any]] = {}
    for name in sorted((name for name in pieces if name.startswith(prefix)), key=_made):
        piece = _object(pieces[name], name)
        internal_name = piece.get("internal_name")
        if not isinstance(internal_name, str):
            raise RunLogMalformed(f"{name[:80]}.json has no internal_name")
        named[internal_name] = piece
    return named


def _made(name: str) -> tuple[int, str]:
    made = name.rpartition("-")[2]
    is_time = made.isascii() and made.isdecimal() and len(made) < len(str(2**64))
    return (int(made) if is_time else 0), name


def _longest_owner(name: str, owners: dict[str, Any]) -> str:
    """Return the longest of the names that this one goes on from after a dot, or none."""
    while name:
        name = name.rpartition(".")[0]
        if name in owners:
            return name
    return ""


def _within(owner: dict[str, Any], field: str) -> dict[str, Any]:
    if owner.get(field) is None:
        owner[field] = {}
    return _object(owner[field], field)


def _object(piece: Any, name: str) -> dict[str, Any]:
    if not isinstance(piece, dict):
        raise RunLogMalformed(f"{name[:80]} is no JSON object")
    return piece
