"""Trackers that misbehave: a real MLflow server that dies and stops, behind a proxy that lies."""

from __future__ import annotations

import contextlib
import json
import signal
import threading
import time
from typing import TYPE_CHECKING, Any, Final

from tests.mlflow_server import Server
from tests.torture import judging
from tests.torture.house import FILE_BACKEND, Unavailable
from tests.torture.oracle import value_of
from tests.torture.proxy import FAULTS, Proxy
from tests.torture.torture import torture

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from tests.torture.actors import Daemon, Writer
    from tests.torture.house import House
    from tests.torture.judging import Observed
    from tests.torture.proxy import Request

REFUSED, KILLED, STOPPED = "connection refused", "server killed", "server stopped for a while"
KINDS: Final = (*[("numbers", 30)] * 5, ("mixed", 10))
"""What the writers track, and how many events a second."""

LEAST_GAP, MOST_GAP = 1, 6
"""So many requests pass between two that are harmed: to open a run anew takes five."""

TIMEOUT_SECONDS: Final = "4"
MOST_WAIT_SECONDS: Final = 100.0
MAX_GROWTH_BYTES: Final = 64 * 1024 * 1024
MAX_BEHIND: Final = 10_000
"""Observations that the other backend may be behind with: some seconds' worth, and no outage's."""


@torture("trackers misbehave", faults=[*FAULTS, REFUSED, KILLED, STOPPED], share=4)
def trackers_misbehave(house: House) -> None:
    """Deliver to an MLflow server of which everything goes wrong, and to a file beside it."""
    folder = house.folder / "server"
    folder.mkdir()
    try:
        server = Server(folder)
        server.start()
    except ImportError as error:
        raise Unavailable(f"there is no MLflow here: {error}") from error
    with contextlib.ExitStack() as ending:
        ending.callback(server.kill)
        proxy = ending.enter_context(Proxy(server.url))
        _deliver_through(house, server, proxy)


def _deliver_through(house: House, server: Server, proxy: Proxy) -> None:
    mlflow = f'[[backend]]\ntype = "mlflow"\nserver_url = "{proxy.url}"\n'
    daemon = house.daemon(FILE_BACKEND + mlflow)
    daemon.environment |= {"MLFLOW_HTTP_REQUEST_TIMEOUT": TIMEOUT_SECONDS}
    daemon.start()
    writers = [house.writer(f"r{n}", kind, pace).start() for n, (kind, pace) in enumerate(KINDS)]
    memory = [daemon.memory_bytes()]
    proxy.choose = _now_and_then(house)
    for number in house.rounds(least=3):
        _hurt(house, server, proxy, number)
        _see_others_go_on(house)
        memory.append(daemon.memory_bytes())
    end = time.monotonic() + MOST_WAIT_SECONDS
    while len(proxy.happened) < len(FAULTS) and time.monotonic() < end:
        house.pause(0.5, 1)
        proxy.let_late_ones_through()
    for writer in writers:
        writer.end()
    _settle(house, daemon, proxy)
    house.judge()
    _judge_mlflow(house, server, writers)
    memory.append(daemon.memory_bytes())
    daemon.stop()
    # What MLflow's package takes when it is imported is no growth.
    growth = max(memory) - memory[1]
    assert growth < MAX_GROWTH_BYTES, f"memory grows: {memory}"
    house.note(f"the daemon grew by {growth / 1e6:.0f} MB")


def _now_and_then(house: House) -> Callable[[Request], str | None]:
    """Return a rule that harms requests at random, with every fault in turn."""
    lock = threading.Lock()
    left: list[str | None] = []

    def choose(_: Request) -> str | None:
        with lock:
            if not left:
                for fault in house.random.sample(FAULTS, len(FAULTS)):
                    left.extend([None] * house.random.randint(LEAST_GAP, MOST_GAP))
                    left.append(fault)
            return left.pop(0)

    return choose


def _hurt(house: House, server: Server, proxy: Proxy, number: int) -> None:
    """Let one of three outages happen, in turn, and what was late arrive."""
    if number % 3 == 0:
        proxy.refuse()
        house.pause(0.5, 2)
        proxy.listen()
        house.happened(REFUSED)
    elif number % 3 == 1:
        server.kill()
        house.pause(0.5, 2)
        server.start()
        house.happened(KILLED)
    else:
        server.tell(signal.SIGSTOP)
        house.pause(1, 6)
        server.tell(signal.SIGCONT)
        house.happened(STOPPED)
    house.pause(0.5, 2)
    proxy.let_late_ones_through()


def _see_others_go_on(house: House) -> None:
    """See that the other backend and the run log do not notice."""
    behind = {one["backend"]: one["observations"] for one in house.left_behind()["backends"]}
    assert behind["file"] < MAX_BEHIND, f"the other backend is held up: {behind}"


def _settle(house: House, daemon: Daemon, proxy: Proxy) -> None:
    """Let all faults end, and all arrive."""
    proxy.choose = lambda _: None
    proxy.let_late_ones_through()
    for fault, times in proxy.happened.items():
        house.happened(fault, times)
    daemon.stop()
    daemon.start()  # else it would wait for as long as it has learned to
    house.settle()
    verified = house.steplogd("verify", "--json", timeout_seconds=MOST_WAIT_SECONDS)
    (told,) = [one for one in json.loads(verified.stdout)["backends"] if one["backend"] == "mlflow"]
    is_equal = not (told["error"] or told["differences"] or told["runs_behind"])
    assert is_equal, f"verify says: {told}"  # the file cannot be read back by it: we judge that
    house.note(f"verify compared {told['points']:,} points")
    for backend in house.left_behind()["backends"]:
        assert backend["dead_letters"] == 0, f"something was set aside: {backend}"


def _judge_mlflow(house: House, server: Server, writers: list[Writer]) -> None:
    """Compare what MLflow's own client reads with the oracles."""
    from mlflow.tracking import MlflowClient

    client = MlflowClient(server.url)
    experiments = [one.experiment_id for one in client.search_experiments()]
    for writer in writers:
        found = client.search_runs(experiments, f"tags.`steplog.run_id` = '{writer.run_id}'")
        assert len(found) == 1, f"{writer.run_id} is {len(found)} runs in MLflow"
        seen = judging.compare("MLflow", [writer], _of_mlflow(client, found[0], writer))
        seen.calls = 0
        house.verdict.add(seen)


def _of_mlflow(client: Any, run: Any, writer: Writer) -> Iterator[Observed]:
    """Go through what MLflow has of a writer; which value, `verify` has said for mixed ones."""
    for point in client.get_metric_history(run.info.run_id, writer.key):
        is_plain = writer.kind == "numbers"
        yield writer.key, point.step, point.value if is_plain else value_of("mixed", point.step)
    for name in run.data.params:
        key, _, step = name.rpartition("_")
        if key == writer.key:
            yield key, int(step), value_of("mixed", int(step))
