"""The configuration: a TOML file, read and checked before anything starts."""

from __future__ import annotations

import contextlib
import difflib
import importlib.metadata
import importlib.util
import os
import tomllib
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final, TypeVar

import msgspec

from steplog.home import default_home, nearest_there
from steplogd.core.retention import ACTIONS, Policy
from steplogd.lasting import is_lasting
from steplogd.metrics.listen import parse_listen

if TYPE_CHECKING:
    from collections.abc import Collection

    from steplogd.delivery.contract import Backend, BackendType

T = TypeVar("T")

ENTRY_POINT_GROUP: Final = "steplog.backends"
_COMMON_BACKEND_KEYS: Final = ("type", "name")
_KEEP_ALL: Final = Policy()


class ConfigError(Exception):
    """The configuration is wrong; the text says what, where, and what would be right."""


class NotNow(ConfigError):
    """It cannot be told now whether it is right: a disk does not answer, or a package is missing.

    A daemon that starts tries again; for all others it is as good as wrong.
    """


class Settings(msgspec.Struct, frozen=True):
    """The keys of the file, beside its `[[backend]]` tables.

    Attributes:
        home: Where everything lies; "" for the usual place.
        grace_seconds: How long nobody is in a run before it ends.
        idle_seconds: How long a run of visitors alone is silent before it ends.
        sweep_seconds: How often all spools are looked at for what no notification told; more
            seldom, once a minute at least, where there are many thousands on this machine's disk.
        shutdown_seconds: How long batches in flight are waited for at the end.
        min_free: Bytes of the home's disk that run logs do not grow into; without it, what tasks
            leave free: STEPLOG_MIN_FREE, else a twentieth of the disk and at most 64 MiB.
        shared: Whether other users append to spools in the home, each to his own.
        metrics_listen: Where metrics are given out to Prometheus: a port of this machine alone, as
            `127.0.0.1:9477`, or `unix:/run/steplog/metrics.sock`; "" for nowhere.
    """

    home: str = ""
    grace_seconds: float = 2.0
    idle_seconds: float = 3600.0
    sweep_seconds: float = 5.0
    shutdown_seconds: float = 10.0
    min_free: int | None = None
    shared: bool = False
    metrics_listen: str = ""


@dataclass(frozen=True)
class BackendConfig:
    """One `[[backend]]` table: the name its cursors go by, its type with its class, its options."""

    name: str
    type: str
    kind: BackendType
    options: msgspec.Struct

    def build(self, home: Path) -> Backend:
        """Build the backend; contacts nobody.

        Raises:
            ConfigError: It cannot be built.
        """
        try:
            backend = self.kind(self.options, home)
            _ = backend.limits.parallel_runs
        except (Exception, SystemExit) as error:  # a third party's code may raise anything
            raise _kind_of(error)(f"Backend {self.name!r} cannot be built: {error}.") from error
        return backend


@dataclass(frozen=True)
class Config:
    """What a daemon runs with: where, how, the trackers to deliver to, and what is kept."""

    home: Path
    settings: Settings
    backends: tuple[BackendConfig, ...] = ()
    retention: Policy = _KEEP_ALL


def find_config(given: str | None = None) -> Path | None:
    """Return the file to read: the one given, else the first of the usual places that exists.

    Raises:
        ConfigError: A file that was named does not exist.
    """
    named = given or os.environ.get("STEPLOG_CONFIG")
    if named:
        if not _is_file(Path(named)):
            what = "it is no file" if Path(named).exists() else "there is no such file"
            raise ConfigError(f"{named}: {what}; name one that exists.")
        return Path(named)
    config_home = os.environ.get("XDG_CONFIG_HOME") or "~/.config"
    usual = [Path("/etc/steplog/steplogd.toml")]
    with contextlib.suppress(RuntimeError):  # this user has no home directory
        usual.insert(0, Path(config_home, "steplog/steplogd.toml").expanduser())
    return next((path for path in usual if _is_file(path)), None)


def load_config(path: Path | None) -> Config:
    """Read and check a configuration file; None is an empty one.

    Raises:
        ConfigError: The first thing that is wrong with it.
    """
    where = str(path) if path else "configuration"
    content = _read(path) if path else {}
    tables = content.pop("backend", [])
    if not isinstance(tables, list) or not all(isinstance(table, dict) for table in tables):
        raise ConfigError(f"{where}: write each backend as a table: [[backend]]")
    retention = _retention(content.pop("retention", {}), where)
    _refuse_unknown(content, (*Settings.__struct_fields__, "retention", "backend"), where)
    settings = _convert(content, Settings, where)
    _refuse_out_of_range(settings, where)
    _refuse_listen(settings.metrics_listen, where)
    backends = tuple(_backend(table, where, number) for number, table in enumerate(tables, 1))
    _refuse_same_names(backends, where)
    return Config(_home(settings), settings, backends, retention)


def backend_types() -> dict[str, importlib.metadata.EntryPoint]:
    """Return the entry points of all installed backend types, by type."""
    points = importlib.metadata.entry_points(group=ENTRY_POINT_GROUP)
    return {point.name: point for point in points}


def _read(path: Path) -> dict[str, Any]:
    try:
        return tomllib.loads(path.read_text("utf-8"))
    except OSError as error:
        raise _unreadable(path, error) from error
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise ConfigError(f"{path}: this is not TOML: {error}.") from error


def _is_file(path: Path) -> bool:
    try:
        return path.is_file()
    except OSError as error:
        raise _unreadable(path, error) from error


def _unreadable(path: Path, error: OSError) -> ConfigError:
    return _kind_of(error)(f"{path}: {error.strerror}; make it readable.")


def _kind_of(error: BaseException) -> type[ConfigError]:
    """Tell of what kind an error is: wrong until a person mends it, or perhaps for now alone."""
    return ConfigError if is_lasting(error) else NotNow


def _backend(table: dict[str, Any], where: str, number: int) -> BackendConfig:
    here = f"{where}: backend {number}"
    types = backend_types()
    type_name = table.get("type")
    if not isinstance(type_name, str):
        raise ConfigError(f"{here}: says no type; write one of {_listed(types)}.")
    if type_name not in types:
        raise ConfigError(f"{here}: there is no type {type_name!r}{nearest(type_name, types)}")
    kind = _load(types[type_name], here)
    name = table.get("name", type_name)
    if not isinstance(name, str) or not name:
        raise ConfigError(f"{here}: its name must be text.")
    options = {key: value for key, value in table.items() if key not in _COMMON_BACKEND_KEYS}
    known = [field.encode_name for field in msgspec.structs.fields(kind.Options)]
    _refuse_unknown(table, (*_COMMON_BACKEND_KEYS, *known), here)
    return BackendConfig(name, type_name, kind, _convert(options, kind.Options, here))


def _retention(table: Any, where: str) -> Policy:
    here = f"{where}: [retention]"
    if not isinstance(table, dict):
        raise ConfigError(f"{where}: write retention as a table: [retention]")
    _refuse_unknown(table, Policy.__struct_fields__, here)
    action = table.get("action", ACTIONS[0])
    if action not in ACTIONS:
        raise ConfigError(f"{here}: there is no action {action!r}{nearest(str(action), ACTIONS)}")
    policy = _convert(table, Policy, here)
    if not 0 <= policy.after_days < float("inf"):
        raise ConfigError(f"{here}: after_days must be 0 or more, not {policy.after_days}.")
    if policy.max_bytes is not None and policy.max_bytes <= 0:
        raise ConfigError(
            f"{here}: max_bytes must be a number of bytes, more than 0, not {policy.max_bytes}; "
            "leave it out to have no budget."
        )
    if policy.max_bytes is not None and policy.action == "keep":
        raise ConfigError(
            f"{here}: max_bytes frees nothing with action 'keep'; write action = 'compress' "
            "or 'remove'."
        )
    return policy


def _load(point: importlib.metadata.EntryPoint, here: str) -> BackendType:
    try:
        kind: BackendType = point.load()
        is_missing = bool(kind.package) and importlib.util.find_spec(kind.package) is None
        msgspec.structs.fields(kind.Options)
    except (Exception, SystemExit) as error:  # a third party's code may raise anything
        text = f"{here}: type {point.name!r} cannot be loaded: {error}."
        raise _kind_of(error)(text) from error
    if is_missing:
        install = f"steplog[{kind.extra}]" if kind.extra else kind.package
        raise NotNow(
            f"{here}: type {point.name!r} needs the package {kind.package}: pip install '{install}'"
        )
    return kind


def _convert(content: Any, kind: type[T], where: str) -> T:
    try:
        return msgspec.convert(content, kind, strict=True)
    except msgspec.ValidationError as error:
        text = str(error).replace("`$.", "`").replace(" - at ", ", at ")
        raise ConfigError(f"{where}: {text}.") from error


def _refuse_unknown(content: dict[str, Any], known: Collection[str], where: str) -> None:
    for key in content:
        if key not in known:
            raise ConfigError(f"{where}: there is no key {key!r}{nearest(key, known)}")


def _refuse_same_names(backends: tuple[BackendConfig, ...], where: str) -> None:
    names = [backend.name for backend in backends]
    for name in names:
        if names.count(name) > 1:
            raise ConfigError(f"{where}: two backends are named {name!r}; give each a name.")


def _refuse_out_of_range(settings: Settings, where: str) -> None:
    for field, value in msgspec.structs.asdict(settings).items():
        if field.endswith("_seconds") and not 0 < value < float("inf"):
            raise ConfigError(f"{where}: {field} must be more than 0, not {value}.")
    if settings.min_free is not None and settings.min_free < 0:
        raise ConfigError(
            f"{where}: min_free must be a number of bytes, 0 to use the disk to its end, "
            f"not {settings.min_free}."
        )


def _refuse_listen(listen: str, where: str) -> None:
    try:
        if listen:
            parse_listen(listen)
    except ValueError as error:
        raise ConfigError(f"{where}: metrics_listen: {error}.") from error
    if listen and importlib.util.find_spec("prometheus_client") is None:
        raise ConfigError(
            f"{where}: metrics_listen needs the package prometheus_client: "
            "pip install 'steplog[daemon]'"
        )


def _home(settings: Settings) -> Path:
    if "\0" in settings.home:
        raise ConfigError("The home holds a NUL character: write a path without one.")
    try:
        home = Path(settings.home).expanduser().absolute() if settings.home else default_home()
    except RuntimeError as error:
        raise ConfigError(f"There is no home directory ({error}): set STEPLOG_HOME.") from error
    with contextlib.suppress(OSError):  # not for this user to see: whoever uses it will say so
        found = nearest_there(home)
        if not found.is_dir():
            raise ConfigError(f"The home {home} cannot be made: {found} is no folder.")
    return home


def nearest(name: str, known: Collection[str]) -> str:
    """Return how to go on after a name that is not known: the one that was meant, or all."""
    close = difflib.get_close_matches(name, known, n=1, cutoff=0.5)
    return f"; did you mean {close[0]!r}?" if close else f"; known are {_listed(known)}"


def _listed(names: Collection[str]) -> str:
    return ", ".join(sorted(names))
