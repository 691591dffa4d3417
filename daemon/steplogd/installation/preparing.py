"""What a service's files are to say here and now, once the configuration is known to be right."""

from __future__ import annotations

import importlib.metadata
import os
import pwd
import re
import stat
import subprocess
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Final

from steplog.home import default_home
from steplogd.config import ConfigError, find_config, load_config
from steplogd.installation.databases import folders_of_databases
from steplogd.installation.kinds import SHARED_CONFIG
from steplogd.installation.planning import InstallError
from steplogd.installation.units import SHARED_HOME, filled_in, marked, over_home, template
from steplogd.shared_home import refuse_unshareable

if TYPE_CHECKING:
    from collections.abc import Iterable

    from steplogd.config import Config
    from steplogd.installation.kinds import Kind

_SIMPLE_NAME: Final = re.compile(r"[A-Za-z0-9_][A-Za-z0-9_.-]*")
_CHECK_SECONDS: Final = 60.0  # a tracker's package may come over a slow network
_ELSEWHERE: Final = (
    "install it where all can use it: python3 -m venv /opt/steplog, then "
    "/opt/steplog/bin/pip install 'steplog[mlflow]', and /opt/steplog/bin/steplogd install"
)


def program() -> list[str]:
    """Return the command that starts this very `steplogd`, virtual environment and all."""
    script = Path(sys.executable).with_name("steplogd")
    if script.is_file() and os.access(script, os.X_OK):
        return [str(script)]
    return [sys.executable, "-m", "steplogd"]


def own_texts(kind: Kind, given: str | None) -> dict[Path, str]:
    """Return what the files of a person's own service say.

    Where his shell names a home or a configuration, the unit names it too: what a shell exports
    does not come to services.

    Raises:
        ConfigError: The configuration is wrong.
        InstallError: The machine has a daemon for all, and he has no configuration of his own.
    """
    found = find_config(given)
    config = load_config(found)
    if config.settings.shared and found == SHARED_CONFIG:
        raise InstallError(
            f"this machine has one daemon for all, by {found}: set STEPLOG_HOME={config.home} for "
            "your tasks; or write ~/.config/steplog/steplogd.toml for a daemon of your own"
        )
    refuse_unshareable(config, is_serving=False)
    usual = (Path("~/.config/steplog/steplogd.toml").expanduser(), SHARED_CONFIG)
    arguments = ("--config", str(found.absolute())) if found and found not in usual else ()
    home = default_home()
    is_usual = home == Path("~/.local/state/steplog").expanduser()
    environment = {} if is_usual else {"STEPLOG_HOME": str(home)}
    unit = filled_in(template(kind.template), program(), arguments, environment)
    return {kind.path: marked(unit, _version())}


def shared_texts(kind: Kind, given: str | None) -> dict[Path, str]:
    """Return what the files of the shared service say.

    Raises:
        ConfigError: The configuration is wrong.
        InstallError: The daemon could not see what it needs.
    """
    path, config = shared_config(given)
    refuse_unshareable(config, is_serving=False)
    _refuse_hidden(kind, _places())
    _refuse_hidden(kind, [path, config.home], "take another place for it")
    _refuse_unshared(path, config)
    databases = list(folders_of_databases(config))
    _refuse_hidden(kind, databases, "take another place for it")
    home = str(config.home)
    is_usual = config.home.is_relative_to(SHARED_HOME)
    writable = [*([] if is_usual else [home]), *map(str, databases)]
    arguments = ("--config", str(path))
    read = [str(path)] if path != kind.config else []
    unit = template(kind.template)
    texts = {kind.path: filled_in(unit, program(), arguments, writable=writable, read=read)}
    for file, name in kind.files.items():
        texts[file] = over_home(template(name), home) if not is_usual else template(name)
    return {file: marked(text, _version()) for file, text in texts.items()}


def shared_config(given: str | None) -> tuple[Path, Config]:
    """Return the configuration of the shared service, and where it lies, or will.

    Raises:
        ConfigError: It is wrong.
    """
    os.environ["STEPLOG_HOME"] = SHARED_HOME  # as the unit says, whatever this shell does
    path = Path(given).absolute() if given else SHARED_CONFIG
    return path, load_config(find_config(str(path)) if given or path.exists() else None)


def texts_of_user(kind: Kind, user: str) -> dict[Path, str]:
    """Return what the files of a user's service say.

    His configuration is checked by himself, as it may be his alone to read.

    Raises:
        ConfigError: The configuration is wrong.
        InstallError: There is no such user, or he could not see what he needs.
    """
    person = _person(user)
    _refuse_hidden(kind, _places())
    _have_him_check(person)
    texts = {kind.path: filled_in(template(kind.template), program())}
    texts |= {file: template(name) for file, name in kind.files.items()}
    return {file: marked(text, _version()) for file, text in texts.items()}


def _have_him_check(person: pwd.struct_passwd) -> None:
    """Have a user check his configuration, without anything of root's at hand.

    What runs is his: on root's terminal it could type, and none of his own packages is needed.
    """
    environment = {"HOME": person.pw_dir, "USER": person.pw_name, "PATH": os.defpath}
    try:
        checked = subprocess.run(
            [*program(), "check"],
            user=person.pw_uid,
            group=person.pw_gid,
            extra_groups=os.getgrouplist(person.pw_name, person.pw_gid),
            env={**environment, "PYTHONNOUSERSITE": "1"},
            cwd="/",
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.PIPE,
            start_new_session=True,
            timeout=_CHECK_SECONDS,
            text=True,
            errors="replace",
            check=False,
        )
    except subprocess.TimeoutExpired:
        raise InstallError(
            f"{person.pw_name} cannot check his configuration within {_CHECK_SECONDS:g} s: see, as "
            f"that user, where `{' '.join(program())} check` hangs"
        ) from None
    if checked.returncode:
        raise ConfigError(checked.stderr.strip().removeprefix("steplogd: "))


def _refuse_unshared(path: Path, config: Config) -> None:
    if path.exists() and not config.settings.shared:  # else ours is written, which says so
        raise ConfigError(
            f"{path} lacks the line `shared = true`, without which no other user can track into "
            f"{config.home}: add it, or take --user or --for USER"
        )


def _refuse_hidden(kind: Kind, places: Iterable[Path], advice: str = _ELSEWHERE) -> None:
    """Refuse what the unit hides from its daemon, or another user than root cannot reach."""
    for place in places:
        for folder in kind.hides:
            if place.is_relative_to(folder):
                raise InstallError(
                    f"{place} lies in {folder}, which {kind.unit} cannot see; {advice}"
                )
        for folder in place.parents:
            if folder.exists() and not folder.stat().st_mode & stat.S_IXOTH:
                raise InstallError(
                    f"other users than root cannot go through {folder} to {place}; {advice}"
                )


def _places() -> list[Path]:
    """Return where steplog and the interpreter lie, links followed and not."""
    package, python = Path(__file__).parents[1], Path(sys.executable)
    return [python, package, python.resolve(), package.resolve(), Path(sys.base_prefix)]


def refuse_odd_name(user: str) -> None:
    """Refuse a user's name that is none, or that would be another unit's, or no unit's.

    Raises:
        InstallError: The text says what to do instead.
    """
    if not _SIMPLE_NAME.fullmatch(user):
        raise InstallError(
            f"{user!r} cannot be in the name of a unit: name a user, or run it as that user, "
            "without --for"
        )


def _person(user: str) -> pwd.struct_passwd:
    refuse_odd_name(user)
    try:
        return pwd.getpwnam(user)
    except KeyError:
        raise InstallError(f"there is no user {user!r}; see `getent passwd`") from None


def _version() -> str:
    return importlib.metadata.version("steplog")
