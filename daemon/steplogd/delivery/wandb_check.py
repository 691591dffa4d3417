"""Looks whether W&B could be delivered to: the package, the folder of its files, server and key."""

from __future__ import annotations

import contextlib
import importlib.metadata
import os
import shlex
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING, Final

from steplog.home import nearest_there
from steplogd.delivery.contract import Remark, Unavailable
from steplogd.delivery.reaching import reach
from steplogd.delivery.secret_file import readable
from steplogd.delivery.wandb_frames import Greet, Greeted

if TYPE_CHECKING:
    from collections.abc import Iterator

    from steplogd.delivery.wandb_child import Child
    from steplogd.delivery.wandb_frames import Place

_USUAL: Final = "https://api.wandb.ai"


def remarks(place: Place, child: Child, key_file: Path | None) -> Iterator[Remark]:
    """Say what is found; nothing is made that stays.

    Args:
        place: Where all runs go.
        child: What runs W&B; it is not started.
        key_file: A file with the key, if one is configured.

    Raises:
        Unavailable: The server is not there, or takes no runs of ours.
        PermissionError: The key is not for this user to read.
    """
    yield _of_folder(Path(place.directory))
    version = importlib.metadata.version("wandb")
    if place.mode == "offline":
        yield Remark(f"W&B {version}, offline: `wandb sync` uploads what it writes")
        return
    server = place.base_url or _USUAL
    reach(server, "W&B")
    if key_file is not None:
        readable(key_file)
    user = _greet(child)
    whose = f", of {user.entity}" if user.entity else ""
    yield Remark(f"W&B {version}; {server} knows us as {user.user}{whose}")


def _of_folder(directory: Path) -> Remark:
    there = nearest_there(directory)
    if os.access(there, os.W_OK | os.X_OK):
        return Remark(f"its files lie in {directory}")
    mend = f"see whose it is: ls -ld {shlex.quote(str(there))}"
    return Remark(f"this user cannot write its files into {directory}", mend)


def _greet(child: Child) -> Greeted:
    """Ask the server who we are, in a process as delivery has it; its folder is removed."""
    with tempfile.TemporaryDirectory(prefix="steplog-") as folder:
        other = child.elsewhere(folder)
        with contextlib.closing(other):
            answer = other.ask(Greet(), other.start())
    if not isinstance(answer, Greeted):
        raise Unavailable("the process that runs W&B does not say who we are")
    return answer
