"""The MLflow backend: how it is configured, and how it connects to a server or a database."""

from __future__ import annotations

import contextlib
import functools
import gc
import importlib.metadata
import os
import threading
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar, Final
from urllib.parse import quote

import msgspec

from steplog.home import make_folder, open_private
from steplogd.delivery import mlflow_check, mlflow_database
from steplogd.delivery.contract import BackendError, Limits, Remark
from steplogd.delivery.mlflow_errors import translated
from steplogd.delivery.mlflow_proof import MARKS
from steplogd.delivery.mlflow_runs import LateCreates, find, find_or_make
from steplogd.delivery.mlflow_session import METRICS_PER_CALL, MlflowSession
from steplogd.delivery.mlflow_transport import serve
from steplogd.delivery.secrets import keep_secret, without_secrets

if TYPE_CHECKING:
    from collections.abc import Iterator

    from mlflow.entities import Run
    from mlflow.tracking import MlflowClient

    from steplogd.delivery.contract import RunInfo

_SCHEMES: Final = (
    "http https databricks databricks-uc file uc sqlite postgresql mysql mssql"
).split()

_REMOTE: Final = ("http://", "https://", "databricks")

_DATABASE: Final = "mlflow.db"
_ARTIFACTS: Final = "mlartifacts"

_ENVIRONMENT: Final = {
    "MLFLOW_DISABLE_TELEMETRY": "true",
    "MLFLOW_ENABLE_ARTIFACTS_PROGRESS_BAR": "false",
    # Seconds for one request; the default of 120 would hold up a shutdown.
    "MLFLOW_HTTP_REQUEST_TIMEOUT": "30",
    # Whatever it logs as an error it also raises, and we say that once.
    "MLFLOW_LOGGING_LEVEL": "CRITICAL",
    "MLFLOW_SUPPRESS_PRINTING_URL_TO_STDOUT": "true",
    # Better refused than cut: a dead letter keeps what it holds.
    "MLFLOW_TRUNCATE_LONG_VALUES": "false",
}
"""How MLflow behaves in our process, unless the user set it otherwise."""


class MlflowOptions(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """The keys of the backend's table.

    Attributes:
        server_url: Any MLflow tracking URI; "" is an SQLite database under the home.
        token_file: A file with the token for an http(s) server, read for each request: it may
            change any time, but for what systemd copied when it started the daemon: after a change
            in /etc/credstore, restart that. Variables stand for their values, as in
            `$CREDENTIALS_DIRECTORY/mlflow-token`; "" leaves credentials to MLflow. A server has
            one for all backends that name it.
    """

    server_url: str = ""
    token_file: str = ""

    def __post_init__(self) -> None:
        """Refuse what is no tracking URI, before anything is started."""
        uri = self.server_url
        scheme, colon, place = uri.partition("://")
        is_known = scheme.partition("+")[0] in _schemes() and bool(colon and place)
        if uri and not is_known and not uri.startswith("databricks"):
            raise ValueError(
                f"server_url = {without_secrets(uri)!r} is no MLflow tracking URI: name a server "
                "(http://…) or a database (sqlite:///…), or leave it out"
            )
        if self.token_file and not is_server(uri):
            raise ValueError("token_file is for a server: name it as server_url = 'https://…'")


class MlflowBackend:
    """A connection to one MLflow server, or to one database that MLflow keeps."""

    Options: ClassVar[type[msgspec.Struct]] = MlflowOptions
    package: ClassVar[str] = "mlflow"
    extra: ClassVar[str] = "mlflow"

    limits: Limits

    def __init__(self, options: MlflowOptions, home: Path) -> None:
        """Import MLflow, which takes more than a second; nobody is contacted.

        Raises:
            ValueError: No URI can name a database under this home.
        """
        _configure_mlflow()
        uri = options.server_url or embedded_uri(home)
        keep_secret(uri)
        self._uri = uri
        self._embedded = None if options.server_url else home
        # Servers and folders say themselves where artifacts go; with a database alone MLflow would
        # take the working directory, wherever the daemon was started.
        root = (home / _ARTIFACTS).absolute().as_uri()
        self._artifact_root = root if _is_database(uri) else None
        # SQLite takes one writer at a time; a server does better with two runs at once.
        parallel_runs = 1 if uri.startswith("sqlite:") else 2
        calls = MARKS if is_server(uri) else 1  # what it takes to prove them is the same
        self.limits = Limits(observations=calls * METRICS_PER_CALL, parallel_runs=parallel_runs)
        self._client: MlflowClient | None = None
        self._connecting = threading.Lock()
        self._late = LateCreates()
        self._token_file = options.token_file

    def open(self, run: RunInfo) -> MlflowSession:
        """Find the MLflow run of a run, or make it."""
        with translated("find or make the run"):
            client = self._connect()
            self._late.look_again(client)

            def reach(run: RunInfo) -> Run:
                return find_or_make(client, run, self._artifact_root, self._late)

            return MlflowSession(client, run, reach, is_remote=is_server(self._uri))

    def look(self, run: RunInfo) -> MlflowSession | None:
        """Find the MLflow run of a run."""
        with translated("find the run"):
            client = self._connect()
            found = find(client, run)
            return None if found is None else MlflowSession(client, run, lambda _: found)

    def check(self) -> Iterator[Remark]:
        """Look whether the server lets us in, or at the database, of which none is made."""
        from mlflow.tracking import MlflowClient

        uri = self._uri
        if self._artifact_root:
            return mlflow_database.remarks(uri)
        if uri.startswith(_REMOTE):
            self._serve()
            client = MlflowClient(uri, registry_uri=uri)
            return mlflow_check.remarks(client, uri, self._token_file)
        return iter([Remark(f"{without_secrets(uri)} is not looked at: no server, no database")])

    def close(self) -> None:
        """Forget the connection."""
        if self._client is not None:
            with contextlib.suppress(BackendError), translated("drop empty twins"):
                self._late.look_again(self._client, at_once=True)
        self._client = None

    def _connect(self) -> MlflowClient:
        from mlflow.tracking import MlflowClient

        with self._connecting:
            if self._client is None:
                if self._embedded:
                    _make_private(self._embedded)
                if self._artifact_root:
                    _prepare_database(self._uri, self._artifact_root)
                self._serve()
                self._client = MlflowClient(self._uri, registry_uri=self._uri)
                _spare_collector()
            return self._client

    def _serve(self) -> None:
        """Let our requests travel as they shall; not before, as this backend may not be taken."""
        if is_server(self._uri):
            file = os.path.expandvars(self._token_file)
            serve(self._uri, Path(file).expanduser() if file else None)


def is_server(uri: str) -> bool:
    """Whether a tracking URI is that of a server that we speak HTTP with ourselves."""
    return uri.startswith(("http://", "https://"))


def _schemes() -> set[str]:
    """Return the beginnings of all tracking URIs that MLflow, or a plugin of it, takes."""
    plugins = importlib.metadata.entry_points(group="mlflow.tracking_store")
    return {*_SCHEMES, *(plugin.name for plugin in plugins)}


def embedded_uri(home: Path) -> str:
    """Return the tracking URI of the database under a home; a shell may need it quoted.

    Raises:
        ValueError: No URI can name it.
    """
    from sqlalchemy.engine import make_url

    path = str(home.absolute() / _DATABASE)
    # MLflow makes the folder that it reads in the URI, escapes and all. So the path stands as it is
    # wherever that is possible, and otherwise with its slashes escaped too: no folder to be read.
    spellings = [f"sqlite:///{path}"] if path.isprintable() else []
    spellings.append(f"sqlite:///{quote(path, safe='', errors='replace')}")
    for uri in spellings:
        if make_url(uri).database == path:
            return uri
    # Before 2.1 SQLAlchemy undid no escapes; and no version takes bytes that are not UTF-8.
    raise ValueError(
        f"no URI can name a database at {path!r}: SQLAlchemy 2.1 or newer takes any path in "
        "UTF-8; or take another home, or a server_url"
    )


def _configure_mlflow() -> None:
    """Set MLflow's environment, which it reads when it is imported, and import it."""
    for name, value in _ENVIRONMENT.items():
        os.environ.setdefault(name, value)
    # Not the user's to choose: the exporter retries, and a create call that the client repeats by
    # itself after a lost answer makes a second run.
    os.environ["MLFLOW_HTTP_REQUEST_MAX_RETRIES"] = "0"
    import mlflow.tracking  # noqa: F401


@functools.cache
def _spare_collector() -> None:
    """Let the garbage collector never again look through what MLflow brought, which stays.

    SQLAlchemy makes so many objects for a batch that all of it was gone through every few of them:
    a third of the time that an embedded MLflow took.
    """
    gc.collect()
    gc.freeze()


def _is_database(uri: str) -> bool:
    from mlflow.store.db.db_types import DATABASE_ENGINES

    scheme, _, _ = uri.partition(":")
    return scheme.partition("+")[0] in DATABASE_ENGINES


def _make_private(home: Path) -> None:
    """Make what MLflow would make readable to others: the database, the folder of artifacts."""
    make_folder(home)
    make_folder(home / _ARTIFACTS)
    os.close(open_private(home / _DATABASE, os.O_RDONLY | os.O_CREAT | os.O_CLOEXEC))


def _prepare_database(uri: str, artifact_root: str) -> None:
    """Make MLflow's tables, and a Default experiment whose artifacts lie under our home."""
    from mlflow.store.tracking.sqlalchemy_store import SqlAlchemyStore

    store: Any = SqlAlchemyStore
    store(uri, artifact_root)
