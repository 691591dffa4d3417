"""Who may import whom, read from the source; nothing is imported for it."""

from __future__ import annotations

import ast
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
FILES = sorted((ROOT / "sdk").rglob("*.py")) + sorted((ROOT / "daemon").rglob("*.py"))
TRACKERS = {"mlflow": "mlflow", "wandb": "wandb"}
PURE = {"__future__", "typing", "msgspec", "collections.abc", "json", "math"}
EVENT_MODULES = ("steplog.events", "steplog.values", "steplog.decoding")
ROOMS = ("intake", "store", "delivery")


def module_name(path: Path) -> str:
    """Return the dotted name of a source file."""
    parts = path.relative_to(ROOT).with_suffix("").parts[1:]
    return ".".join(parts).removesuffix(".__init__")


def imports(path: Path) -> set[str]:
    """Return the modules that a file imports anywhere, for types too."""
    found: set[str] = set()
    for node in ast.walk(ast.parse(path.read_text("utf-8"))):
        if isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{path} imports relatively"
            found |= {f"{node.module}.{alias.name}" for alias in node.names}
            found.add(str(node.module))
    return found


def imported_when_loaded(path: Path) -> set[str]:
    """Return the modules that are imported as soon as a file is, types apart."""
    found: set[str] = set()
    for node in ast.parse(path.read_text("utf-8")).body:
        if isinstance(node, ast.Import):
            found |= {alias.name.partition(".")[0] for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            found.add(str(node.module).partition(".")[0])
    return found


def imports_of_body(path: Path) -> set[str]:
    """Return the modules that a file imports from as soon as it is loaded, by their whole names."""
    body = ast.parse(path.read_text("utf-8")).body
    return {str(node.module) for node in body if isinstance(node, ast.ImportFrom)}


def is_in(module: str, package: str) -> bool:
    """Tell whether a module is a package or lies in it."""
    return f"{module}.".startswith(f"{package}.")


ALL = {module_name(path): path for path in FILES}
SDK = sorted(name for name in ALL if is_in(name, "steplog"))
DAEMON = sorted(name for name in ALL if is_in(name, "steplogd"))


def test_both_packages_are_looked_at() -> None:
    """Else all of this would hold of nothing."""
    assert "steplog.events" in SDK
    assert {"steplogd.service", "steplogd.core.fold"} <= set(DAEMON)


@pytest.mark.parametrize("module", SDK)
def test_the_sdk_imports_only_itself_msgspec_and_the_standard_library(module: str) -> None:
    """Wherever the import stands; a task gets nothing else with it."""
    roots = {name.partition(".")[0] for name in imports(ALL[module])}

    assert roots <= sys.stdlib_module_names | {"steplog", "msgspec"}


@pytest.mark.parametrize("module", [name for name in DAEMON if is_in(name, "steplogd.core")])
def test_the_core_is_pure(module: str) -> None:
    """It knows events and their values; no files, clocks, logging or await."""
    source = ALL[module].read_text("utf-8")
    others = {
        name
        for name in imports(ALL[module])
        if not any(is_in(name, pure) for pure in (*PURE, *EVENT_MODULES, "steplogd.core"))
    }

    assert others == set()
    assert "async " not in source
    assert "open(" not in source.replace("def open(", "").replace("membership.open(", "")


@pytest.mark.parametrize("room", ROOMS)
def test_the_rooms_do_not_import_one_another(room: str) -> None:
    """Nor anybody above them; only what wires knows all."""
    allowed = (f"steplogd.{room}", "steplogd.core")
    wrong = {
        (module, name)
        for module in DAEMON
        if is_in(module, f"steplogd.{room}")
        for name in imports(ALL[module])
        if is_in(name, "steplogd") and not any(is_in(name, known) for known in allowed)
    }

    assert wrong - {(module, "steplogd") for module in DAEMON} == set()


def test_nobody_knows_every_room() -> None:
    """The service wires what is built of them; it needs none of them all itself."""
    knowing = [
        module
        for module in DAEMON
        if all(
            any(is_in(name, f"steplogd.{room}") for name in imports(ALL[module])) for room in ROOMS
        )
    ]

    assert knowing == []


def test_only_run_speaks_with_the_service_manager() -> None:
    """By one file that knows the daemon as well; the protocol knows nothing of it."""
    package = "steplogd.systemd"
    inside = [name for name in DAEMON if is_in(name, package)]
    known = {name for module in inside for name in imports(ALL[module])}
    speaking = {name for name in DAEMON if any(is_in(one, package) for one in imports(ALL[name]))}

    assert {name for name in known if is_in(name, "steplogd") and not is_in(name, package)} == set()
    assert speaking - set(inside) == {"steplogd.commands.run", "steplogd.supervised"}


def test_metrics_are_imported_only_where_they_are_asked_for() -> None:
    """The client library of Prometheus by `metrics` alone, and that by `run` when it is due."""
    known = {name: imports(ALL[name]) for name in DAEMON}
    client = {
        name for name in DAEMON if any(is_in(one, "prometheus_client") for one in known[name])
    }
    asking = {name for name in DAEMON if known[name] & client}

    assert all(is_in(name, "steplogd.metrics") for name in client)
    assert asking - client == {"steplogd.commands.run"}
    assert not imports_of_body(ALL["steplogd.commands.run"]) & client


def test_deliveries_are_made_in_one_place() -> None:
    """Whoever else makes a courier would have to see to its end, too."""
    courier = "steplogd.delivery.courier.Courier"
    making = {name for name in DAEMON if courier in imports(ALL[name])}

    assert {name for name in making if not is_in(name, "steplogd.delivery")} == {
        "steplogd.backend_delivery"
    }


@pytest.mark.parametrize("tracker", TRACKERS)
def test_a_tracker_is_imported_only_by_its_own_backend(tracker: str) -> None:
    """The demo shows what arrived there, so that it has to ask."""
    owners = (f"steplogd.delivery.{tracker}", "steplogd.commands.demo")
    wrong = [
        module
        for module in DAEMON
        if any(is_in(name, tracker) for name in imports(ALL[module]))
        and not module.startswith(owners)
    ]

    assert wrong == []


@pytest.mark.parametrize("tracker", TRACKERS)
def test_no_backend_knows_another(tracker: str) -> None:
    """What two of them share belongs to neither."""
    wrong = {
        (module, name)
        for module in DAEMON
        if module.startswith(f"steplogd.delivery.{tracker}")
        for name in imports(ALL[module])
        for other in TRACKERS.keys() - {tracker}
        if name.startswith(f"steplogd.delivery.{other}")
    }

    assert wrong == set()


@pytest.mark.parametrize(
    "module", ["steplogd.delivery.mlflow", "steplogd.delivery.memory", "steplogd.delivery.wandb"]
)
def test_a_backend_can_be_looked_at_without_its_tracker(module: str) -> None:
    """Its file loads without the package, so that `steplogd check` can say what is missing."""
    assert not imported_when_loaded(ALL[module]) & set(TRACKERS)


@pytest.mark.parametrize("module", sorted(ALL))
def test_no_module_is_a_box_for_the_rest(module: str) -> None:
    """A name says what a file is."""
    assert not {"utils", "util", "common", "helpers", "misc"} & set(module.split("."))


@pytest.mark.parametrize("module", sorted(ALL))
def test_a_file_is_short_enough_to_read(module: str) -> None:
    """400 lines are the end."""
    assert len(ALL[module].read_text("utf-8").splitlines()) < 400
