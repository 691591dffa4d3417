"""What `import steplog` brings, and what it leaves alone."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from tests.conftest import run_program

if TYPE_CHECKING:
    from pathlib import Path


def modules_after(code: str) -> set[str]:
    """Return the modules that a program has loaded in the end."""
    done = run_program(f"{code}\nimport sys\nprint(*sys.modules)")
    assert done.stderr == ""
    return set(done.stdout.split())


def test_import_brings_msgspec_and_the_standard_library_alone() -> None:
    """Nothing but msgspec comes along, whatever else is installed."""
    import sys

    brought = modules_after("import steplog") - modules_after("pass")
    outside = {name.partition(".")[0] for name in brought} - sys.stdlib_module_names

    # Where typing_extensions is installed, msgspec takes it along.
    assert outside - {"typing_extensions"} == {"steplog", "msgspec"}


@pytest.mark.parametrize("code", ["import steplog", "import steplog; steplog.track_this(a=0.5)"])
@pytest.mark.usefixtures("home")
def test_expensive_modules_stay_away(code: str) -> None:
    """Neither the import nor plain tracking loads what would multiply their cost."""
    expensive = {"logging", "sqlite3", "json", "asyncio", "inspect", "subprocess", "socket", "dis"}

    assert not expensive & (modules_after(code) - modules_after("import msgspec"))


def test_import_touches_nothing(home: Path) -> None:
    """The import starts no thread, opens no file, hooks nothing and makes no folder."""
    done = run_program("""
        import os, sys, threading
        before = sys.exit, sys.excepthook, dict(os.environ), os.listdir("/proc/self/fd")
        import steplog
        assert before == (sys.exit, sys.excepthook, dict(os.environ), os.listdir("/proc/self/fd"))
        assert len(os.listdir("/proc/self/task")) == threading.active_count() == 1
    """)

    assert done.stderr == ""
    assert not home.exists()


def test_tracking_starts_no_thread_and_no_process(home: Path) -> None:
    """A process that tracks is still one thread without children."""
    done = run_program("""
        import os, steplog
        with steplog.start_run(), steplog.task("train"):
            steplog.track_this(step=1, loss=0.5, text="abc")
            assert len(os.listdir("/proc/self/task")) == 1
            assert not open(f"/proc/self/task/{os.getpid()}/children").read()
    """)

    assert done.stderr == ""
    assert home.exists()


def test_public_names_exist() -> None:
    """Every name that the package offers is there."""
    import steplog

    assert [name for name in steplog.__all__ if not hasattr(steplog, name)] == []
    assert sorted(steplog.__all__) == steplog.__all__
