"""Looks whether an MLflow server lets us in, and of which version it is."""

from __future__ import annotations

import os
import re
import shlex
import stat
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from steplogd.delivery.contract import Remark
from steplogd.delivery.mlflow_errors import translated
from steplogd.delivery.reaching import reach
from steplogd.delivery.secret_file import readable
from steplogd.delivery.secrets import without_secrets

if TYPE_CHECKING:
    from collections.abc import Iterator

    from mlflow.tracking import MlflowClient

_VERSION: Final = re.compile(r"(\d+)\.\d+[\w.+-]{0,40}")
_VARIABLE: Final = re.compile(r"\$\{?(\w+)")


def remarks(client: MlflowClient, uri: str, token_file: str) -> Iterator[Remark]:
    """Say what is found of a server, or of what else MLflow speaks to over a network.

    Args:
        client: MLflow's own.
        uri: Where it is.
        token_file: As it is configured.

    Raises:
        Unavailable: It is not there, or does not let us in.
        PermissionError: The token is not for this user to read.
    """
    from mlflow.version import VERSION

    place = without_secrets(uri)
    if _is_http(uri):
        reach(uri, "MLflow")
    if unset := _VARIABLE.search(os.path.expandvars(token_file)):
        text = (
            f"{place} answers; whether it lets us in cannot be told from here, for the token_file"
        )
        variable = f"{unset[1]}=/run/credentials/steplogd.service"
        yield Remark(
            f"{text} {token_file} lies where ${unset[1]} says, which the unit alone has",
            f"say it, as in `sudo {variable} steplogd doctor`; or start the daemon first",
        )
        return
    yield from _of_token(token_file)
    with translated(f"list the experiments at {place}"):
        client.search_experiments(max_results=1)
    theirs = _server_version(uri)
    if theirs is None:
        yield Remark(
            f"{place} lets us in; MLflow here is {VERSION}, and there of a version not told"
        )
    elif theirs.partition(".")[0] != VERSION.partition(".")[0]:
        text = f"{place} lets us in, but MLflow is {theirs} there, and {VERSION} here"
        yield Remark(
            text, "have the same major version on both sides: pip install --upgrade mlflow"
        )
    else:
        yield Remark(f"{place} lets us in; MLflow is {theirs} there, and {VERSION} here")


def _of_token(token_file: str) -> Iterator[Remark]:
    """Look who can read the token; whether it is one, and right, the request will tell."""
    path = Path(os.path.expandvars(token_file)).expanduser()
    if not token_file or (status := readable(path)) is None:
        return
    mode = stat.S_IMODE(status.st_mode)
    if mode & (stat.S_IRWXO | stat.S_IWGRP):
        text = f"the token_file {path} is open to others (mode {mode:o})"
        yield Remark(text, f"chmod 600 {shlex.quote(str(path))}")


def _is_http(uri: str) -> bool:
    return uri.startswith(("http://", "https://"))


def _server_version(uri: str) -> str | None:
    """Return what a server says of its version; None where it says nothing, or anything else."""
    from mlflow.utils import rest_utils
    from mlflow.utils.credentials import get_default_host_creds

    if not _is_http(uri):
        return None
    ask: Any = rest_utils.http_request
    credentials: Any = get_default_host_creds
    try:
        answer = ask(credentials(uri), "/version", "GET")
    except Exception:  # noqa: BLE001  # it let us in, and need not tell
        return None
    found = _VERSION.fullmatch(answer.text.strip()) if answer.ok else None
    return found[0] if found else None
