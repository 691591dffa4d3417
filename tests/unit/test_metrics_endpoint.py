"""The endpoint for Prometheus: who may ask, how, and that nobody who asks holds up anything."""

from __future__ import annotations

import contextlib
import os
import resource
import socket
import stat
import threading
import types
from typing import TYPE_CHECKING

import pytest
from prometheus_client.core import GaugeMetricFamily
from prometheus_client.registry import Collector
from structlog.testing import capture_logs

from steplogd.changes import changes
from steplogd.config import Config, ConfigError, Settings, load_config
from steplogd.metrics import endpoint
from steplogd.metrics.collector import ServiceCollector
from steplogd.metrics.endpoint import giving_out
from steplogd.metrics.listen import parse_listen
from tests.conftest import DEADLINE_SECONDS, wait_until
from tests.scraping import ask, free_port

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path


class One(Collector):
    """Collects one metric, or what is set instead."""

    def __init__(self) -> None:
        self.fault: Exception | None = None
        self.go_on = threading.Event()
        self.go_on.set()
        self.asked = 0

    def collect(self) -> list[GaugeMetricFamily]:
        """Collect it."""
        self.asked += 1
        self.go_on.wait()
        if self.fault is not None:
            raise self.fault
        return [GaugeMetricFamily("one", "One.", value=1)]


@pytest.fixture
def one() -> Iterator[One]:
    """Give a collector that is let go on at last."""
    collector = One()
    yield collector
    collector.go_on.set()


@pytest.fixture
def path(tmp_path: Path) -> str:
    """Give a path for a socket."""
    return str(tmp_path / "metrics.sock")


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("127.0.0.1:9477", "127.0.0.1:9477"),
        ("127.1.2.3:1", "127.1.2.3:1"),
        ("localhost:80", "127.0.0.1:80"),
        ("[::1]:9477", "[::1]:9477"),
        ("unix:/run/steplog/metrics.sock", "unix:/run/steplog/metrics.sock"),
    ],
)
def test_loopback_and_sockets_can_be_listened_at(text: str, said: str) -> None:
    """By the usual ways to write them."""
    assert said == str(parse_listen(text))


_REFUSED = [
    *"0.0.0.0:9477 :9477 9477 127.0.0.1 127.0.0.1:0 127.0.0.1:99999 10.0.0.7:9477".split(),
    *"[::]:9477 [2001:db8::1]:9477 example.org:9477 127.0.0.1:x unix: unix:m.sock".split(),
    *("127.0.0.1:²", "unix:/" + "x" * 107, "unix:/a\0b"),
]


@pytest.mark.parametrize("text", _REFUSED)
def test_other_machines_are_not_let_in(text: str, home: Path) -> None:
    """Nor is what is no address; the configuration says so, and what to write instead."""
    home.mkdir()
    config = home / "steplogd.toml"
    config.write_text(f"metrics_listen = {text!r}\n".replace("\\x00", "\\u0000").replace("'", '"'))

    with pytest.raises(ConfigError, match=r"steplogd\.toml: metrics_listen: "):
        load_config(config)


def test_the_address_stays_as_it_is_while_a_daemon_serves(tmp_path: Path) -> None:
    """A reload that would change it is refused, and says what to do."""
    old = Config(tmp_path, Settings())
    new = Config(tmp_path, Settings(metrics_listen="127.0.0.1:9477"))

    with pytest.raises(ConfigError, match=r"metrics_listen cannot change .*: restart it"):
        changes(old, new)


def test_metrics_are_given_out_at_a_port(one: One) -> None:
    """Those of the process too; nothing else is there."""
    listen = f"127.0.0.1:{free_port()}"
    with giving_out(listen, one):
        status, text = ask(listen)
        others = [ask(listen, path)[0] for path in ("/", "/metrics/", "/favicon.ico")]
        method, _ = ask(listen, method="POST")

    assert status == 200
    assert "\none 1.0\n" in text
    assert "process_resident_memory_bytes" in text
    assert (others, method) == ([404, 404, 404], 405)
    with pytest.raises(ConnectionRefusedError):
        ask(listen)


def test_a_page_of_another_machine_gets_no_metrics(one: One, path: str) -> None:
    """Though its name leads to this machine's address; at a socket no browser asks."""
    listen = f"127.0.0.1:{free_port()}"
    own = "localhost LocalHost:9477 127.0.0.1 127.1.2.3:9477 [::1] [::1]:9477".split()
    others = "evil.example 127.0.0.1.evil.example localhost.evil.example:80 10.0.0.7 [::2]".split()
    with giving_out(listen, one):
        of_own = [ask(listen, host=host)[0] for host in own]
        of_others = [ask(listen, host=host)[0] for host in (*others, "", ":80")]
    with giving_out(f"unix:{path}", one):
        at_socket = ask(f"unix:{path}", host="metrics.example")[0]

    assert of_own == [200] * len(own)
    assert of_others == [403] * 7
    assert at_socket == 200


def test_metrics_are_given_out_at_a_socket(one: One, path: str) -> None:
    """To its owner and group alone, and it is gone with the daemon."""
    with giving_out(f"unix:{path}", one):
        status, text = ask(f"unix:{path}")
        mode = stat.S_IMODE(os.stat(path).st_mode)  # noqa: PTH116

    assert (status, mode) == (200, 0o660)
    assert "one 1.0" in text
    assert not os.path.lexists(path)


def test_a_socket_that_was_left_behind_is_replaced(one: One, path: str) -> None:
    """The daemon before was killed."""
    with contextlib.closing(socket.socket(socket.AF_UNIX)) as dead:
        dead.bind(path)
    with giving_out(f"unix:{path}", one):
        assert ask(f"unix:{path}")[0] == 200


def test_who_listens_there_already_goes_on(one: One, path: str) -> None:
    """The daemon serves without metrics, and says why; at a port too."""
    for listen in (f"unix:{path}", f"127.0.0.1:{free_port()}"):
        with giving_out(listen, one):
            with capture_logs() as said, giving_out(listen, one):
                pass

            assert ask(listen)[0] == 200
        (told,) = said
        assert (told["log_level"], told["at"]) == ("error", listen)
        assert told["reason"] == "Address already in use"


def test_who_listens_there_and_takes_nobody_is_not_waited_for(one: One, path: str) -> None:
    """Though as many wait for him already as may."""
    with (
        contextlib.closing(socket.socket(socket.AF_UNIX)) as other,
        contextlib.closing(socket.socket(socket.AF_UNIX)) as waiting,
        capture_logs() as said,
    ):
        other.bind(path)
        other.listen(0)
        waiting.connect(path)
        with giving_out(f"unix:{path}", one):
            pass

    assert [told["reason"] for told in said] == ["Address already in use"]


def test_an_address_that_is_free_again_is_listened_at(
    one: One, path: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """However often that failed, it is said once; and then, that it works."""
    monkeypatch.setattr(endpoint, "_AGAIN_SECONDS", 0.01)
    for listen in (f"unix:{path}", f"127.0.0.1:{free_port()}"):
        with capture_logs() as said, contextlib.ExitStack() as later:
            with giving_out(listen, One()):
                later.enter_context(giving_out(listen, one))
            wait_until(lambda said=said: len(said) > 1)  # type: ignore[misc]

            assert ask(listen)[0] == 200
        assert [told["event"] for told in said] == [
            "metrics are not given out, as nobody can listen there: trying again",
            "metrics are given out",
        ]


def test_a_file_is_never_taken_away(one: One, path: str) -> None:
    """Nor is a folder made."""
    with open(path, "w", encoding="utf-8"):  # noqa: PTH123
        pass
    for taken in (path, f"{path}/deeper"):
        with capture_logs() as said, giving_out(f"unix:{taken}", one):
            pass
        assert [told["at"] for told in said] == [f"unix:{taken}"]

    assert stat.S_ISREG(os.stat(path).st_mode)  # noqa: PTH116


def test_whoever_says_nothing_is_cut_off(
    one: One, path: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """And so is who says a little at a time; others are answered meanwhile."""
    monkeypatch.setattr(endpoint, "_MOST_SECONDS", 0.2)
    with giving_out(f"unix:{path}", one), contextlib.ExitStack() as opened:
        silent = opened.enter_context(contextlib.closing(socket.socket(socket.AF_UNIX)))
        silent.connect(path)
        silent.sendall(b"GET /metr")
        assert ask(f"unix:{path}")[0] == 200
        silent.settimeout(60)

        assert silent.recv(100) == b""


def test_whoever_is_one_too_many_waits(one: One, path: str) -> None:
    """Until another one is done; then all are answered."""
    of_other_tests = set(threading.enumerate())
    one.go_on.clear()
    with giving_out(f"unix:{path}", one), contextlib.ExitStack() as opened:
        all_of_them = []
        for _ in range(endpoint._AT_ONCE + 3):
            asking = opened.enter_context(contextlib.closing(socket.socket(socket.AF_UNIX)))
            asking.connect(path)
            asking.settimeout(DEADLINE_SECONDS)
            asking.sendall(b"GET /metrics HTTP/1.0\r\n\r\n")
            all_of_them.append(asking)
        wait_until(lambda: one.asked == endpoint._AT_ONCE)
        ours = set(threading.enumerate()) - of_other_tests
        answering = [thread for thread in ours if thread.name == "metrics-answer"]
        one.go_on.set()
        answers = [asking.recv(12) for asking in all_of_them]

    assert len(answering) == endpoint._AT_ONCE
    assert answers == [b"HTTP/1.0 200"] * len(all_of_them)


def test_whoever_waits_does_not_keep_it_from_stopping(one: One, path: str) -> None:
    """Nor do those that are being answered."""
    one.go_on.clear()
    with contextlib.ExitStack() as opened:
        with giving_out(f"unix:{path}", one):
            for _ in range(endpoint._AT_ONCE + 3):
                asking = opened.enter_context(contextlib.closing(socket.socket(socket.AF_UNIX)))
                asking.connect(path)
                asking.sendall(b"GET /metrics HTTP/1.0\r\n\r\n")
            wait_until(lambda: one.asked == endpoint._AT_ONCE)

        assert "metrics" not in {thread.name for thread in threading.enumerate()}


@pytest.mark.parametrize("kind", ["metrics-answer", "Thread-"])
def test_threads_that_cannot_be_started_cost_no_place(
    one: One, path: str, kind: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Neither the one that answers, nor the one that cuts off; later ones are answered."""
    start, failed = threading.Thread.start, list[str]()

    def start_later(thread: threading.Thread) -> None:
        if thread.name.startswith(kind) and len(failed) <= endpoint._AT_ONCE:
            failed.append(thread.name)
            raise RuntimeError("can't start new thread")
        start(thread)

    monkeypatch.setattr(threading.Thread, "start", start_later)
    with giving_out(f"unix:{path}", one):
        for _ in range(endpoint._AT_ONCE + 1):
            with pytest.raises(ConnectionError):
                ask(f"unix:{path}")

        assert ask(f"unix:{path}")[0] == 200


def test_without_a_descriptor_left_it_rests(
    one: One, path: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Before it tries again, as the kernel would tell of the same request without end."""
    limits = resource.getrlimit(resource.RLIMIT_NOFILE)

    def have_descriptors(_: float) -> None:
        resource.setrlimit(resource.RLIMIT_NOFILE, limits)

    monkeypatch.setattr(endpoint, "time", types.SimpleNamespace(sleep=have_descriptors))
    with (
        giving_out(f"unix:{path}", one),
        contextlib.closing(socket.socket(socket.AF_UNIX)) as asking,
    ):
        asking.settimeout(DEADLINE_SECONDS)
        free = os.dup(asking.fileno())
        os.close(free)
        resource.setrlimit(resource.RLIMIT_NOFILE, (free, limits[1]))
        try:
            asking.connect(path)
            asking.sendall(b"GET /metrics HTTP/1.0\r\n\r\n")

            assert asking.recv(12) == b"HTTP/1.0 200"
        finally:
            have_descriptors(0)


def test_a_defect_of_the_metrics_is_an_answer(one: One, path: str) -> None:
    """And a line in the log, no traceback; the next one is answered again."""
    with giving_out(f"unix:{path}", one), capture_logs() as said:
        one.fault = RuntimeError("a defect")
        broken, _ = ask(f"unix:{path}")
        one.fault = None
        mended, _ = ask(f"unix:{path}")

    assert (broken, mended) == (500, 200)
    assert [told["reason"] for told in said] == ["RuntimeError('a defect')"]


def test_threads_of_the_endpoint_keep_no_process(one: One, path: str) -> None:
    """Neither the one that listens, nor those that answer."""
    one.go_on.clear()
    with giving_out(f"unix:{path}", one), contextlib.closing(socket.socket(socket.AF_UNIX)) as s:
        s.connect(path)
        s.sendall(b"GET /metrics HTTP/1.0\r\n\r\n")
        wait_until(lambda: one.asked == 1)
        ours = [thread for thread in threading.enumerate() if thread.name.startswith("metrics")]

        assert {thread.name for thread in ours} == {"metrics", "metrics-answer"}
        assert all(thread.daemon for thread in ours)


def test_what_was_found_just_now_is_told_again(tmp_path: Path) -> None:
    """Whoever asks without end costs the store nothing."""
    now, asked = 0.0, 0

    def read_meters() -> object:
        nonlocal asked
        asked += 1
        raise ZeroDivisionError

    collector = ServiceCollector(tmp_path / "steplog.db", clock=lambda: now)
    first = collector.collect()
    collector.look_at(read_meters)  # type: ignore[arg-type]
    again = collector.collect()
    now = 1.0
    with pytest.raises(ZeroDivisionError):
        collector.collect()

    assert again is first
    assert asked == 1
    assert [family.name for family in first] == ["steplog_build_info", "steplog_store_up"]
