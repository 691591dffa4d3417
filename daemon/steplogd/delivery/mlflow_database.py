"""Looks at a database that MLflow keeps without a server, and makes none."""

from __future__ import annotations

import contextlib
import errno
import os
import shlex
import sqlite3
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from steplog.home import nearest_there
from steplogd.delivery.contract import Refused, Remark
from steplogd.delivery.mlflow_errors import translated
from steplogd.delivery.secrets import without_secrets

if TYPE_CHECKING:
    from collections.abc import Iterator

    from sqlalchemy.engine import Engine

_CONNECT_SECONDS: Final = 2.0


def remarks(uri: str) -> Iterator[Remark]:
    """Say what is found of it.

    Raises:
        Unavailable: It cannot be read now.
        Refused: It is of another version of MLflow.
        PermissionError: It is not for this user to write.
    """
    from mlflow.version import VERSION
    from sqlalchemy import create_engine
    from sqlalchemy.engine import make_url

    url = make_url(uri)
    is_file = url.get_backend_name() == "sqlite" and url.database not in (None, "", ":memory:")
    if not is_file:
        with translated(f"connect to {without_secrets(uri)}"), contextlib.ExitStack() as stack:
            engine = create_engine(url)
            stack.callback(engine.dispose)
            _check_schema(engine, uri)
        yield Remark(f"MLflow {VERSION}; {without_secrets(uri)} lets us in")
        return
    path = Path(str(url.database))
    if not path.exists() or path.stat().st_size == 0:
        _check_writable(nearest_there(path.absolute().parent))
        yield Remark(f"MLflow {VERSION}; {path} is not there yet, and made with the first run")
        return
    _check_writable(path)
    with translated(f"read {path}"), contextlib.ExitStack() as stack:
        engine = create_engine("sqlite://", creator=lambda: _open(path))
        stack.callback(engine.dispose)
        _check_schema(engine, uri)
    yield Remark(f"MLflow {VERSION}, embedded: {path}")


def _open(path: Path) -> sqlite3.Connection:
    return sqlite3.connect(
        f"{path.absolute().as_uri()}?mode=ro",
        uri=True,
        timeout=_CONNECT_SECONDS,
        check_same_thread=False,
    )


def _check_schema(engine: Engine, uri: str) -> None:
    """Compare its revision with MLflow's own; one without tables gets them with the first run."""
    import mlflow.store.db.utils

    utils: Any = mlflow.store.db.utils  # MLflow itself makes tables as soon as it connects
    found = utils._get_schema_version(engine)
    wanted = utils._get_latest_schema_revision()
    if found not in (None, wanted):
        raise Refused(
            f"{without_secrets(uri)} was made by another version of MLflow (its schema is {found}, "
            f"and {wanted} is known here): make a copy, then "
            f"`mlflow db upgrade {shlex.quote(without_secrets(uri))}`, or install that MLflow"
        )


def _check_writable(path: Path) -> None:
    for place in (path, path if path.is_dir() else path.parent):
        if not os.access(place, os.W_OK):
            raise PermissionError(errno.EACCES, os.strerror(errno.EACCES), str(place))
