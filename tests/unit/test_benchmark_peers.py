"""The peers of the benchmarks: who is measured, with what, and how it is read back."""

from __future__ import annotations

import ast
import importlib
import struct
from pathlib import Path

import pytest
from benchmarks.peers.bare import BareMsgspec, BareWrite, LockedWrite
from benchmarks.peers.contenders import CONTENDERS, REQUIREMENTS, Contender
from benchmarks.peers.crowd import _together
from benchmarks.peers.tensorboardx import _records
from benchmarks.peers.training import Network
from benchmarks.peers.values import LOSS, TEN, line

from steplog.decoding import decode
from steplog.events import Track


@pytest.mark.parametrize("contender", CONTENDERS, ids=lambda one: one.label)
def test_a_contender_has_a_file_and_something_to_install(contender: Contender) -> None:
    """Its file can be imported where the peer is not installed, begins a run and reads it back."""
    module = importlib.import_module(f"benchmarks.peers.{contender.peer}")
    assert callable(module.begin)
    assert callable(module.count)
    assert REQUIREMENTS[contender.peer]


def test_what_runs_beside_a_peer_imports_no_package() -> None:
    """In its environment there is the peer alone, and what it brings."""
    folder = Path(__file__).parents[2] / "benchmarks" / "peers"
    names = "program emitting timing values training crowd bare".split()
    allowed = {"benchmarks", "msgspec", "numpy", *__import__("sys").stdlib_module_names}
    for name in names:
        tree = ast.parse((folder / f"{name}.py").read_text("utf-8"))
        for node in ast.walk(tree):
            if isinstance(node, ast.ImportFrom):
                assert str(node.module).split(".")[0] in allowed
            elif isinstance(node, ast.Import):
                assert {alias.name.split(".")[0] for alias in node.names} <= allowed


@pytest.mark.parametrize(("count", "values"), [(1, {"loss": LOSS}), (10, TEN)])
def test_the_bare_line_is_one_that_steplog_would_write(count: int, values: object) -> None:
    """It decodes to the same event."""
    (event,) = decode(line(count))
    assert isinstance(event, Track)
    assert (event.step, event.values) == (12_345, values)


@pytest.mark.parametrize("kind", [BareWrite, LockedWrite, BareMsgspec])
def test_a_bare_call_appends_one_line_of_that_length(kind: type[BareWrite], tmp_path: Path) -> None:
    """What is compared is as long, whoever writes it."""
    tracker = kind(tmp_path)
    tracker.one(12_345)
    tracker.ten(12_345)
    tracker.finish()

    (file,) = tmp_path.iterdir()
    lengths = [len(one) for one in file.read_bytes().splitlines(keepends=True)]
    assert lengths == [len(line(1)), len(line(10))]


def test_a_torn_record_of_an_event_file_is_none() -> None:
    """Whole records before it are read."""
    record = struct.pack("<Q", 3) + b"crc." + b"abc" + b"crc."
    assert list(_records(record * 2 + record[:-1])) == [b"abc", b"abc"]


def test_a_crowd_takes_from_the_first_start_to_the_last_end() -> None:
    """That time is shared out over the calls of all."""
    one = {"median_us": 1, "p99_us": 2, "max_us": 3}
    found = _together(
        [{"start": 0, "end": 10_000, **one}, {"start": 5_000, "end": 40_000, **one}], 10
    )
    assert found["together_us"] == 2


def test_the_network_learns() -> None:
    """So that its steps are those of a training."""
    network = Network(32)
    losses = [network.step() for _ in range(50)]
    assert losses[-1] < losses[0]
