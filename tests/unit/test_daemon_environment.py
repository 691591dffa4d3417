"""Whose variables `steplogd doctor` takes over, before it asks a backend."""

from __future__ import annotations

import contextlib
import os
import subprocess
from typing import TYPE_CHECKING

import pytest

from steplogd.config import Config, Settings
from steplogd.doctor.daemon_environment import take_environment
from steplogd.doctor.patient import Patient

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

NAME = "STEPLOG_TEST_PLANTED"
STRANGER = 4242
AS_ROOT = pytest.mark.skipif(os.geteuid() != 0, reason="needs root, to be somebody else")


@pytest.fixture(autouse=True)
def no_such_variable(monkeypatch: pytest.MonkeyPatch) -> None:
    """Put our own environment back after the test."""
    monkeypatch.setenv(NAME, "")


@contextlib.contextmanager
def process(uid: int | None = None, name: str = "steplogd") -> Iterator[int]:
    """Run something of this name with another environment, until the block ends."""
    with subprocess.Popen(
        ["/bin/sh", "-c", "echo; read _", name],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        env={NAME: "planted"},
        user=uid,
    ) as started:
        assert started.stdout is not None
        started.stdout.readline()
        yield started.pid
        started.communicate()


def patient(home: Path, pid: int | None) -> Patient:
    """Be served by a process."""
    return Patient(Config(home, Settings()), pid, True, 1.0)


def test_variables_of_our_own_daemon_are_taken_over(tmp_path: Path) -> None:
    """They are what this very user gave to it."""
    with process() as pid:
        is_as_the_daemon = take_environment(patient(tmp_path, pid))

    assert (is_as_the_daemon, os.environ[NAME]) == (True, "planted")


def test_variables_of_what_is_no_daemon_are_left_alone(tmp_path: Path) -> None:
    """The number may be the daemon's within a container, and another process has it here."""
    with process(name="another") as pid:
        is_as_the_daemon = take_environment(patient(tmp_path, pid))

    assert (is_as_the_daemon, os.environ[NAME]) == (True, "")


@AS_ROOT
def test_root_takes_over_nothing_from_another_user(tmp_path: Path) -> None:
    """Who could make root start what he likes."""
    with process(STRANGER) as pid:
        is_as_the_daemon = take_environment(patient(tmp_path, pid))

    assert (is_as_the_daemon, os.environ[NAME]) == (False, "")


@AS_ROOT
def test_root_takes_over_nothing_in_the_home_of_another_user(tmp_path: Path) -> None:
    """Who writes into his lock whose process that is."""
    os.chown(tmp_path, STRANGER, STRANGER)
    with process() as pid:
        is_as_the_daemon = take_environment(patient(tmp_path, pid))

    assert (is_as_the_daemon, os.environ[NAME]) == (False, "")
