"""The W&B backend: how it is configured, and how it connects to a server or to files here."""

from __future__ import annotations

import os
from pathlib import Path
from typing import TYPE_CHECKING, ClassVar, Final, Literal

import msgspec

from steplogd.delivery.contract import Limits
from steplogd.delivery.wandb_check import remarks
from steplogd.delivery.wandb_child import Child
from steplogd.delivery.wandb_frames import Opened, Place
from steplogd.delivery.wandb_log import paths_of
from steplogd.delivery.wandb_names import project_name
from steplogd.delivery.wandb_session import WandbSession

if TYPE_CHECKING:
    from collections.abc import Iterator

    from steplogd.delivery.contract import Remark, RunInfo

PATIENCE_SECONDS: Final = 30.0
"""How long W&B may take over one call before it counts as hanging."""

OBSERVATIONS: Final = 5000
"""The most in one batch: what W&B takes in about a second."""


class WandbOptions(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """The keys of the backend's table.

    Attributes:
        project: The project of all runs; "" is the run's tag, or `steplog` without one.
        entity: Who owns the project; "" is W&B's default for the key.
        mode: Whether runs go to the server, or into files here that `wandb sync` uploads; None is
            online, unless `WANDB_MODE` says otherwise.
        base_url: Which server; "" is W&B's default.
        directory: What W&B calls WANDB_DIR; "" is `wandb` under the home.
        key_file: A file with the key, read whenever W&B's process is started. Variables stand for
            their values, as in `$CREDENTIALS_DIRECTORY/wandb-api-key`; "" leaves it to W&B.
        api_key: Refused: a configuration file is no place for a key.
    """

    project: str = ""
    entity: str = ""
    mode: Literal["online", "offline"] | None = None
    base_url: str = ""
    directory: str = ""
    key_file: str = ""
    api_key: str | None = None

    def __post_init__(self) -> None:
        """Refuse what makes no sense, before anything is started."""
        if self.api_key is not None:
            raise ValueError(
                "api_key does not belong into a configuration file: set WANDB_API_KEY for the "
                "daemon, name a key_file, or run `wandb login` as the user whom it runs as"
            )
        if "@" in self.base_url:
            raise ValueError("base_url holds a user or a key, which belong into WANDB_API_KEY")
        if self.base_url and not self.base_url.startswith(("http://", "https://")):
            raise ValueError(
                f"base_url = {self.base_url!r} is no server: it begins with https://, or leave it "
                "out for wandb.ai"
            )


class WandbBackend:
    """A connection to W&B, in a process of its own."""

    Options: ClassVar[type[msgspec.Struct]] = WandbOptions
    package: ClassVar[str] = "wandb"
    extra: ClassVar[str] = "wandb"

    limits: Limits

    def __init__(self, options: WandbOptions, home: Path) -> None:
        """Prepare; the process is started, and imports W&B, when a run is opened."""
        directory = Path(options.directory).expanduser() if options.directory else home / "wandb"
        self._place = Place(
            mode=options.mode or _mode_of_environment(),
            entity=options.entity,
            base_url=options.base_url or os.environ.get("WANDB_BASE_URL", ""),
            directory=str(directory.absolute()),
        )
        self._project = options.project
        self.limits = Limits(observations=OBSERVATIONS, parallel_runs=8)
        file = os.path.expandvars(options.key_file)
        self._key_file = Path(file).expanduser() if file else None
        self.child = Child(self._place, PATIENCE_SECONDS, self._key_file)

    def open(self, run: RunInfo) -> WandbSession:
        """Find the W&B run of a run; offline it is made with the first that is written."""
        return WandbSession(self.child, self._place, run, self._project)

    def look(self, run: RunInfo) -> WandbSession | None:
        """Find the W&B run of a run, and disturb nobody who writes it; online it may be absent."""
        place = self._place
        if place.mode == "offline" and not paths_of(Path(place.directory), run.run_id, place.mode):
            return None
        found = Opened(0, project_name(run.tag, self._project), place.entity)
        return WandbSession(self.child, place, run, self._project, found)

    def check(self) -> Iterator[Remark]:
        """Look at folder, server and key; see `remarks`."""
        return remarks(self._place, self.child, self._key_file)

    def close(self) -> None:
        """End the process; whatever is in flight there is sent again by the next one."""
        self.child.close()


def _mode_of_environment() -> Literal["online", "offline"]:
    mode = os.environ.get("WANDB_MODE")
    if mode == "disabled":
        raise ValueError("WANDB_MODE=disabled: unset it for the daemon, or take the backend out")
    return "offline" if mode in ("offline", "dryrun") else "online"
