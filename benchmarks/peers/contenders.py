"""Who is measured, with which settings, and what has to be installed for that."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final, NamedTuple

from benchmarks.frame.environments import Environment, Unavailable, environment

if TYPE_CHECKING:
    from collections.abc import Iterable

STEPLOG: Final = "steplog"

REQUIREMENTS: Final[dict[str, tuple[str, ...]]] = {
    "steplog": (".",),
    "mlflow": ("mlflow",),
    "wandb": ("wandb",),
    "tensorboardx": ("tensorboardX",),
    "trackio": ("trackio",),
    "aim": ("aim",),
    "neptune": ("neptune-scale",),
    "dvclive": ("dvclive",),
    "goodseed": ("goodseed",),
}
"""By peer: the name of its file in this folder."""

MODULES: Final[dict[str, str]] = {
    "tensorboardx": "tensorboardX",
    "neptune": "neptune_scale",
}
"""What a task imports of a peer, where that is not called as the peer."""


class Contender(NamedTuple):
    """A peer with a setting.

    Attributes:
        label: In tables and plots.
        peer: Its file in this folder.
        setting: What that file makes of it: "default" is what its first example shows.
        has_server: It talks to a tracking server, which is started for it.
        most_calls: After which a run that only queues what it is told would take minutes to end.
    """

    label: str
    peer: str
    setting: str = "default"
    has_server: bool = False
    most_calls: int = 20_000


CONTENDERS: Final = (
    Contender(STEPLOG, "steplog"),
    Contender("MLflow, SQLite", "mlflow", "sync"),
    Contender("MLflow, SQLite, async", "mlflow", "async", most_calls=2_000),
    Contender("MLflow, server", "mlflow", "sync", has_server=True),
    Contender("MLflow, server, async", "mlflow", "async", has_server=True, most_calls=300),
    Contender("W&B offline", "wandb"),
    Contender("W&B offline, flush of 50 ms", "wandb", "flushed"),
    Contender("tensorboardX", "tensorboardx"),
    Contender("tensorboardX, flush() each call", "tensorboardx", "flushed"),
    Contender("Trackio", "trackio"),
    Contender("Aim", "aim"),
    Contender("Neptune Scale offline", "neptune"),
    Contender("DVCLive", "dvclive"),
    Contender("DVCLive, step set by hand", "dvclive", "by hand"),
    Contender("goodseed, local", "goodseed"),
)


def prepare(peers: Iterable[str]) -> dict[str, Environment | str]:
    """Return the environment of each peer, or the reason why there is none."""
    found: dict[str, Environment | str] = {}
    for peer in dict.fromkeys(peers):
        try:
            # The training loop needs NumPy, whatever the peer itself brings.
            found[peer] = environment(peer, *REQUIREMENTS[peer], besides=("numpy",))
        except Unavailable as error:
            found[peer] = str(error)
    return found
