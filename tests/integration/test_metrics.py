"""Metrics of a real daemon, and what rules and dashboard make of them."""

from __future__ import annotations

import contextlib
import json
import re
import shutil
import signal
import socket
import subprocess
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
import yaml

from tests.conftest import DEADLINE_SECONDS, run_program, wait_until
from tests.daemon import configure, serving
from tests.lines import Scribe, append
from tests.scraping import ask, free_port, scrape, value

if TYPE_CHECKING:
    from collections.abc import Iterator

    from prometheus_client.samples import Sample

_MONITORING = Path(__file__).parents[2] / "monitoring"
_ALERTS = _MONITORING / "alerts.yml"
_DASHBOARD = _MONITORING / "grafana-dashboard.json"
_OF_PROMETHEUS = {"up", "ALERTS"}
_ITS_LABELS = {"job", "instance", "le"}
"""What Prometheus itself adds to what it scrapes, and the bound of a histogram."""

_TEXT = re.compile(r'"[^"]*"')
_METRIC = re.compile(r"\b(?:steplog_\w+|process_\w+|up)\b")
_LABELS = re.compile(r"\{([^}]*)\}|\bby\s*\(([^)]*)\)")


@pytest.fixture
def listen(tmp_path: Path) -> str:
    """Give an address to listen at."""
    return f"unix:{tmp_path / 'metrics.sock'}"


def config(home: Path, listen: str, backends: str = '[[backend]]\ntype = "memory"\n') -> str:
    """Write a configuration that gives out metrics; return its path."""
    return configure(home, f'metrics_listen = "{listen}"\n{backends}')


@pytest.fixture
def scraped(home: Path, listen: str) -> Iterator[list[Sample]]:
    """Scrape a daemon that has folded and delivered one run, and one that goes on."""
    a = Scribe()
    append(home, "r", a.line("join"), *[a.track() for _ in range(3)], a.line("leave"))
    append(home, "s", b'{"t":"track","values":{"x":1}}\n', b"garbage\n")
    with serving(home, "--config", config(home, listen)):
        wait_until(lambda: _is_all_sent(scrape(listen)))
        yield scrape(listen)


def _is_known(samples: list[Sample], backends: set[str]) -> bool:
    """Tell whether it was looked for what each backend is behind with."""
    behind = [one for one in samples if one.name == "steplog_backend_runs_behind"]
    return {one.labels["backend"] for one in behind} == backends


def _is_all_sent(samples: list[Sample]) -> bool:
    """Tell whether it is, of samples that may be of a moment before anything was served."""
    names = {one.name for one in samples}
    if "steplog_backend_runs_behind" not in names:
        return False
    ended = value(samples, "steplog_runs_ended_total", status="SUCCESS")
    sent = value(samples, "steplog_backend_sent_observations_total", backend="memory")
    return (ended, sent, value(samples, "steplog_backend_runs_behind")) == (1, 4, 0)


def test_a_daemon_says_how_it_is(scraped: list[Sample], home: Path) -> None:
    """What it folded, what goes on, what is owed, and what is left."""
    found = {
        name: value(scraped, f"steplog_{name}")
        for name in (
            "runs_begun_total runs_open spool_backlog_bytes troubles spools_unreadable "
            "folded_observations_total swept_bytes_total set_aside_pieces_total lost_events_total "
            "store_up backend_observations_behind backend_oldest_unacknowledged_seconds "
            "backend_failing backend_dead_letters backend_refused_total backend_retries_total"
        ).split()
    }

    assert found == dict.fromkeys(found, 0) | {
        "runs_begun_total": 2,
        "runs_open": 1,
        "folded_observations_total": 4,
        "set_aside_pieces_total": 1,
        "store_up": 1,
    }
    size = sum(path.stat().st_size for path in (home / "spool").iterdir())
    assert value(scraped, "steplog_folded_bytes_total") == size
    assert value(scraped, "steplog_commit_duration_seconds_count") >= 2
    assert value(scraped, "steplog_home_free_bytes") > 0
    assert value(scraped, "steplog_home_min_free_bytes") > 0
    assert value(scraped, "steplog_build_info") == 1
    assert value(scraped, "process_resident_memory_bytes") > 0


def test_no_label_names_a_run(scraped: list[Sample]) -> None:
    """Whose number has no bound; a backend's has."""
    labels = {label for one in scraped for label in one.labels}

    assert labels == {"backend", "status", "le", "version", "python"}


def test_a_backend_that_never_answers_is_behind(
    home: Path, listen: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """By observations, runs and age; the other one is not, and neither holds up the metrics."""
    monkeypatch.setenv("PYTHONPATH", str(Path(__file__).parent / "third_party"))
    a = Scribe()
    append(home, "r", a.line("join"), *[a.track() for _ in range(3)])
    backends = '[[backend]]\ntype = "file"\nhangs = true\n[[backend]]\ntype = "memory"\n'

    def behind(samples: list[Sample], backend: str) -> list[float]:
        names = ("steplog_backend_observations_behind", "steplog_backend_runs_behind")
        of_backend = [one for one in samples if one.labels.get("backend") == backend]
        # None before it was looked for what it is owed.
        return [one.value for name in names for one in of_backend if one.name == name]

    with serving(home, "--config", config(home, listen, backends)):
        wait_until(lambda: _is_known(scrape(listen), {"file", "memory"}))
        wait_until(lambda: behind(scrape(listen), "memory") == [0, 0])
        wait_until(lambda: behind(scrape(listen), "file") == [3, 1])
        name = "steplog_backend_oldest_unacknowledged_seconds"

        assert value(scrape(listen), name, backend="file") > 1_000_000  # the scribe's clock is old


def test_a_daemon_that_is_told_to_stop_stops_though_somebody_asks(home: Path) -> None:
    """And says nothing of it; a port can be listened at again at once."""
    listen = f"127.0.0.1:{free_port()}"
    path = config(home, listen)
    for _ in range(2):
        with (
            serving(home, "--config", path) as process,
            contextlib.closing(
                socket.create_connection(("127.0.0.1", int(listen.rpartition(":")[2])))
            ) as slow,
        ):
            slow.sendall(b"GET ")
            assert ask(listen)[0] == 200
            process.send_signal(signal.SIGTERM)
            assert process.wait(DEADLINE_SECONDS) == 0

    log = (home.parent / f"{home.name}.log").read_text()
    assert [json.loads(line)["event"] for line in log.splitlines()] == ["serving", "stopped"]


def test_an_address_that_somebody_else_has_keeps_no_daemon_from_serving(home: Path) -> None:
    """Any user of the machine can take a port; it is said which, and why there are no metrics."""
    append(home, "r", b'{"t":"track","values":{"x":1}}\n')
    with contextlib.closing(socket.socket()) as other:
        other.bind(("127.0.0.1", 0))
        other.listen()
        listen = f"127.0.0.1:{other.getsockname()[1]}"
        with serving(home, "--config", config(home, listen)):
            wait_until(lambda: (home / "steplog.db").exists())

    log = (home.parent / f"{home.name}.log").read_text()
    told = [json.loads(line) for line in log.splitlines()]
    assert (told[0]["level"], told[0]["at"]) == ("error", listen)
    assert told[0]["reason"] == "Address already in use"
    assert {"serving", "stopped"} <= {line["event"] for line in told}


def test_what_only_the_sweep_finds_is_told(home: Path, listen: str) -> None:
    """Where the kernel tells of nothing that is appended."""
    program = (
        "import sys; from steplogd.folding import follow\n"
        "async def silent(folder, stop, *_):\n"
        "    yield set()\n"
        "    await stop.wait()\n"
        "follow.watch = silent\n"
        "from steplogd.__main__ import main; main(['run', *sys.argv[1:]])"
    )
    with serving(home, "--config", config(home, listen), program=program):
        wait_until(lambda: value(scrape(listen), "steplog_store_up") == 1)

        def is_missed() -> bool:
            append(home, "r", b'{"t":"track","values":{"x":1}}\n')
            return value(scrape(listen), "steplog_swept_bytes_total") > 0

        wait_until(is_missed)
        size = (home / "spool" / "r.jsonl").stat().st_size
        assert value(scrape(listen), "steplog_swept_bytes_total") <= size


def test_without_an_address_nothing_of_it_is_imported(home: Path) -> None:
    """It costs nobody else anything."""
    code = """
        import sys
        from steplogd.__main__ import main
        try:
            main(["check"])
        finally:
            assert "steplogd.commands.run" in sys.modules
            assert "prometheus_client" not in sys.modules
    """
    ran = run_program(code)

    assert (ran.returncode, ran.stderr) == (0, "")


def rules() -> list[dict[str, Any]]:
    """Return the alerting rules."""
    content = yaml.safe_load(_ALERTS.read_text("utf-8"))
    return [rule for group in content["groups"] for rule in group["rules"]]


def panels() -> list[dict[str, Any]]:
    """Return the panels of the dashboard that show something."""
    content = json.loads(_DASHBOARD.read_text("utf-8"))
    return [panel for panel in content["panels"] if panel["type"] != "row"]


def unknown(expression: str, samples: list[Sample]) -> set[str]:
    """Return the metrics and labels in an expression of PromQL that a daemon does not give out."""
    bare = _TEXT.sub('""', expression)
    names = set(_METRIC.findall(bare))
    labels = {
        label.partition("=")[0].strip(" !~")
        for inside, grouping in _LABELS.findall(bare)
        for label in (inside or grouping).split(",")
    }
    given = {label for one in samples if one.name in names for label in one.labels}
    assert names, f"no metric in {expression}"
    return (names - _OF_PROMETHEUS - {one.name for one in samples}) | (labels - given - _ITS_LABELS)


def test_what_the_rules_and_the_dashboard_ask_for_is_given_out(scraped: list[Sample]) -> None:
    """Every metric, and every label; and whatever is given out of us is shown."""
    asked = [rule["expr"] for rule in rules()]
    shown = [target["expr"] for panel in panels() for target in panel["targets"]]

    assert [found for one in asked + shown if (found := unknown(one, scraped))] == []
    of_us = {one.name for one in scraped if one.name.startswith("steplog_")}
    not_shown = of_us - set(_METRIC.findall(" ".join(shown)))
    assert not_shown == {"steplog_build_info", "steplog_store_up"}


def test_what_is_not_given_out_is_found() -> None:
    """Else the test before would hold of anything."""
    assert unknown('rate(steplog_nothing_total{run="r"}[5m]) > 0', []) == {
        "steplog_nothing_total",
        "run",
    }


def test_each_rule_says_how_urgent_it_is_and_what_to_do() -> None:
    """By names that differ, and texts that name the machine."""
    names = [rule["alert"] for rule in rules()]

    assert len(names) == len(set(names)) > 0
    for rule in rules():
        assert rule["labels"]["severity"] in ("critical", "warning")
        assert "$labels.instance" in rule["annotations"]["summary"]
        assert len(rule["annotations"]["description"]) > 20


def test_the_dashboard_is_one_that_grafana_takes() -> None:
    """Each panel has a place of its own, a title, what it shows, and from where."""
    board = json.loads(_DASHBOARD.read_text("utf-8"))
    names = {variable["name"] for variable in board["templating"]["list"]}
    places = [panel["gridPos"] for panel in board["panels"]]
    ids = [panel["id"] for panel in board["panels"]]

    assert {"datasource", "instance"} == names
    assert len(ids) == len(set(ids))
    assert all(place["x"] + place["w"] <= 24 for place in places)
    cells = [(place["x"] + dx, place["y"]) for place in places for dx in range(place["w"])]
    assert len(cells) == len(set(cells))
    for panel in panels():
        assert panel["type"] in ("stat", "timeseries")
        assert panel["title"]
        assert panel["description"]
        assert panel["fieldConfig"]["defaults"]["unit"]
        assert panel["datasource"]["uid"] == "${datasource}"
        refs = [target["refId"] for target in panel["targets"]]
        assert len(refs) == len(set(refs)) > 0
        assert all('instance=~"$instance"' in target["expr"] for target in panel["targets"])


@pytest.mark.parametrize(
    "arguments", [["check", "rules", "alerts.yml"], ["test", "rules", "alerts-test.yml"]]
)
def test_prometheus_takes_the_rules(arguments: list[str]) -> None:
    """They raise what they should, and nothing where all is well."""
    promtool = found_promtool()
    ran = subprocess.run(
        [promtool, *arguments], cwd=_MONITORING, capture_output=True, text=True, check=False
    )

    assert ran.returncode == 0, ran.stdout + ran.stderr


def test_prometheus_takes_every_expression_of_the_dashboard(tmp_path: Path) -> None:
    """As it would take them in a rule, with a time for Grafana's own variable."""
    expressions = [target["expr"] for panel in panels() for target in panel["targets"]]
    recorded = [
        {"record": f"p{number}", "expr": one.replace("$__rate_interval", "1m")}
        for number, one in enumerate(expressions)
    ]
    path = tmp_path / "rules.yml"
    path.write_text(json.dumps({"groups": [{"name": "dashboard", "rules": recorded}]}))
    ran = subprocess.run(
        [found_promtool(), "check", "rules", path], capture_output=True, text=True, check=False
    )

    assert ran.returncode == 0, ran.stdout + ran.stderr


def test_prometheus_takes_the_metrics(home: Path, listen: str) -> None:
    """By its own rules for names, types and texts; it prints what it would do better."""
    promtool = found_promtool()
    with serving(home, "--config", config(home, listen)):
        wait_until(lambda: value(scrape(listen), "steplog_store_up") == 1)
        _, text = ask(listen)
    ran = subprocess.run(
        [promtool, "check", "metrics"], input=text, capture_output=True, text=True, check=False
    )

    assert (ran.returncode, ran.stdout + ran.stderr) == (0, "")


def found_promtool() -> str:
    """Return where promtool is; skip the test where it is not."""
    promtool = shutil.which("promtool")
    if promtool is None:
        pytest.skip("there is no promtool: it comes with Debian's package prometheus")
    return promtool
