"""Homes, limits and descriptors as no one would wish for: the task goes on, and what can be is."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from typing import TYPE_CHECKING, Any

import pytest

from steplog.events import Leave, Lost, Malformed
from tests.commands import STEPLOG
from tests.conftest import DEADLINE_SECONDS, events, is_gapless, numbers, run_program, tracked
from tests.daemon import configure, document, steplogd
from tests.lines import fold

if TYPE_CHECKING:
    from pathlib import Path

TRACK = """
    import steplog
    with steplog.start_run("r") as run:
        for step in range(20):
            run.track_this(step=step, a=step)
            run.track({"text": "x" * step}, step=step)
"""


def values(home: Path) -> list[dict[str, Any]]:
    """Return what was tracked, in the order of the spool."""
    return [event.values for event in tracked(home)]


def is_whole(home: Path) -> bool:
    """Tell whether all of `TRACK` is there, without a gap."""
    return len(tracked(home)) == 40 and is_gapless(numbers(home))


# --- the home ---------------------------------------------------------------------------------


NAMES = {
    "spaces": b"a home with  spaces ",
    "quotes": b'it\'s a "home"; $HOME `ls` %s * ?#&',
    "letters": "Häuschen, 家, дом, 🏠".encode(),
    "no UTF-8": b"h\xf6me \xff\xfe",
    "newline": b"two\nlines\t",
    "long": b"x" * 255,
}


@pytest.mark.parametrize("name", NAMES)
def test_a_home_of_any_name_serves(tmp_path: Path, home: Path, name: str) -> None:
    """Task, daemon and command alike find it, whatever bytes its path is made of."""
    place = tmp_path / os.fsdecode(NAMES[name])
    place.mkdir()
    wanted = place / "home"
    done = run_program(TRACK, STEPLOG_HOME=str(wanted))
    assert (done.returncode, done.stderr) == (0, "")
    config = configure(home)
    environment = {**os.environ, "STEPLOG_HOME": str(wanted)}
    command = [sys.executable, "-m", "steplogd", "drain", "--config", config]
    drained = subprocess.run(command, env=environment, capture_output=True, check=False)

    assert drained.returncode == 0, drained.stderr
    assert is_whole(wanted)
    assert document(wanted, "r")["status"] == "SUCCESS"


def test_a_home_on_a_path_as_long_as_can_be(tmp_path: Path, home: Path) -> None:
    """Up to the kernel's 4,096 bytes it serves; beyond, the task goes on without it."""
    deep = tmp_path
    while len(str(deep)) < 3700:
        deep = deep / ("d" * 200)
    served = run_program(TRACK, STEPLOG_HOME=str(deep))
    beyond = run_program(TRACK, STEPLOG_HOME=str(deep / ("d" * 250) / ("e" * 250)))

    assert (served.returncode, served.stderr) == (0, "")
    assert is_whole(deep)
    assert beyond.returncode == 0
    assert "File name too long" in beyond.stderr
    assert "Traceback" not in beyond.stderr


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can be a user that nobody knows")
def test_without_home_and_user_the_task_goes_on(home: Path) -> None:
    """HOME unset, and nobody in the list of users: it says so, and no more."""
    done = run_program("""
        import logging, os, pwd, steplog
        for name in ("HOME", "STEPLOG_HOME", "XDG_STATE_HOME"): os.environ.pop(name, None)
        os.chdir("/")
        os.setuid(54321)
        steplog.track_this(a=1)
        steplog.track({"a": None})
        print("on")
    """)

    assert done.stdout == "on\n", done.stderr
    assert "was not recorded" in done.stderr
    assert "Traceback" not in done.stderr


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can mount a read-only home")
def test_a_read_only_home_costs_the_task_nothing(tmp_path: Path, home: Path) -> None:
    """HOME cannot be written: one warning, and the task goes on."""
    place = tmp_path / "readonly"
    place.mkdir()
    mounted = subprocess.run(
        ["mount", "-t", "tmpfs", "-o", "ro", "none", place], capture_output=True, check=False
    )
    if mounted.returncode != 0:
        pytest.skip("nothing can be mounted here")
    try:
        done = run_program(TRACK + "\n    print('on')", STEPLOG_HOME=str(place / "home"))
    finally:
        subprocess.run(["umount", place], check=True)

    assert done.stdout == "on\n"
    assert "Read-only file system" in done.stderr
    assert "Traceback" not in done.stderr


@pytest.mark.parametrize("umask", [0o000, 0o077, 0o777])
def test_any_umask_makes_the_same_home(home: Path, umask: int) -> None:
    """Folders are their owner's alone, and a spool is for its group to read."""
    done = run_program(f"import os; os.umask({umask})\n" + TRACK.replace("\n    ", "\n"))

    assert (done.returncode, done.stderr) == (0, "")
    assert is_whole(home)
    modes = [path.stat().st_mode & 0o777 for path in (home, home / "spool", home / "spool/r.jsonl")]
    assert modes == [0o700, 0o700, 0o640]


@pytest.mark.parametrize("relative", [True, False])
def test_a_working_folder_that_is_gone_stops_nobody(home: Path, relative: bool) -> None:
    """It was deleted before the first call, or after a home was named that lies in it."""
    program = f"""
        import os, shutil, sys, tempfile, steplog
        folder = tempfile.mkdtemp()
        os.chdir(folder)
        if {relative}:
            os.environ["STEPLOG_HOME"] = "here"
            steplog.start_run("r").track_this(a=1)
        shutil.rmtree(folder)
        steplog.track_this(a=2)
        steplog.track({{"a": 3, "text": None}})
        print("on")
    """
    done = run_program(program)

    assert done.stdout == "on\n"
    assert "Traceback" not in done.stderr
    if not relative:
        assert [one["a"] for one in values(home)] == [2, 3]


# --- descriptors and limits -------------------------------------------------------------------


@pytest.mark.parametrize("closed", ["0", "1", "2", "0,1,2"])
def test_closed_standard_streams_get_no_line_of_ours(home: Path, closed: str) -> None:
    """A spool may then be descriptor 0, 1 or 2: what the program prints must not land in it."""
    shell = " ".join({"0": "<&-", "1": ">&-", "2": "2>&-"}[fd] for fd in closed.split(","))
    code = (
        "import os, sys, steplog\n"
        "with steplog.start_run('r') as run:\n"
        "    for step in range(20):\n"
        "        run.track_this(step=step, a=step); run.track({'text': 'x'}, step=step)\n"
        "        for fd in (1, 2):\n"
        "            try: os.write(fd, b'printed by the program\\n')\n"
        "            except OSError: pass\n"
    )
    command = f'exec "{sys.executable}" -c "$0" {shell}'
    done = subprocess.run(
        ["sh", "-c", command, code], capture_output=True, timeout=DEADLINE_SECONDS, check=False
    )

    assert done.returncode == 0
    assert is_whole(home)
    assert not [event for event in events(home) if isinstance(event, Malformed)]


def test_files_of_a_program_that_closed_all_descriptors_get_no_line_of_ours(home: Path) -> None:
    """It opens files of its own with the numbers that are free, as one does that is a daemon."""
    done = run_program(
        """
        import os, sys, tempfile, steplog
        run = steplog.start_run("r")
        run.track_this(a=1)
        os.closerange(0, 256)
        names = [os.path.join(sys.argv[1], str(k)) for k in range(20)]
        files = [os.open(name, os.O_RDWR | os.O_CREAT) for name in names]
        for step in range(20): run.track_this(step=step, a=2)
        pid = os.fork()
        if not pid:
            run.track_this(a=3)
            for file in files: os.write(file, b"child")
            os._exit(0)
        os.waitpid(pid, 0)
        run.end()
        for file in files: os.write(file, b"own")
    """,
        str(home.parent),
    )

    assert done.returncode == 0
    assert [one["a"] for one in values(home)] == [1, *[2] * 20, 3]
    assert {(home.parent / str(k)).read_bytes() for k in range(20)} == {b"childown"}
    assert is_gapless(numbers(home))


def test_a_limit_of_file_size_kills_no_task(home: Path) -> None:
    """Beyond RLIMIT_FSIZE a write fails, with Python's SIGXFSZ; what is lost is told afterwards."""
    done = run_program("""
        import resource, steplog
        run = steplog.start_run("r")
        run.track_this(a=0)
        resource.setrlimit(resource.RLIMIT_FSIZE, (20_000, resource.RLIM_INFINITY))
        for step in range(50): run.track({"text": "x" * 1000}, step=step)
        for step in range(50): run.track_this(step=step, loss=0.5)
        resource.setrlimit(resource.RLIMIT_FSIZE, (resource.RLIM_INFINITY,) * 2)
        run.track_this(last=1)
    """)

    lost = sum(event.count for event in events(home) if isinstance(event, Lost))
    torn = [event for event in events(home) if isinstance(event, Malformed)]
    assert done.returncode == 0
    assert lost > 0
    assert len(tracked(home)) + lost == 102
    assert len(torn) <= 1
    assert values(home)[-1] == {"last": 1}
    assert fold((home / "spool" / "r.jsonl").read_bytes()).state.gaps == 0


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can become a user with no other process")
def test_a_limit_of_processes_stops_no_call(home: Path) -> None:
    """With RLIMIT_NPROC reached nothing can be started, no thread either; tracking needs none."""
    done = run_program("""
        import os, resource, threading, steplog
        with steplog.start_run("r") as run:
            resource.setrlimit(resource.RLIMIT_NPROC, (0, 0))
            os.setuid(54321)
            try: threading.Thread(target=print).start()
            except RuntimeError: print("limited")
            for step in range(20):
                run.track_this(step=step, a=step)
                run.track({"text": "x"}, step=step)
    """)

    assert (done.returncode, done.stdout, done.stderr) == (0, "limited\n", "")
    assert is_whole(home)


def test_no_descriptor_left_costs_what_cannot_be_opened(home: Path) -> None:
    """A run begun without descriptors says so once; when there is one, it tells the loss."""
    done = run_program("""
        import resource, steplog
        soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
        resource.setrlimit(resource.RLIMIT_NOFILE, (3, hard))
        run = steplog.start_run("r")
        for step in range(10): run.track_this(step=step, a=step)
        resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))
        run.track_this(last=1)
    """)

    lost = sum(event.count for event in events(home) if isinstance(event, Lost))
    assert done.returncode == 0
    assert "Traceback" not in done.stderr
    assert len(tracked(home)) + lost == 11
    assert values(home)[-1] == {"last": 1}
    assert [event.status for event in events(home) if isinstance(event, Leave)] == ["SUCCESS"]


def test_a_task_in_another_language_is_not_killed_by_the_command(home: Path) -> None:
    """`steplog track` beyond the file size limit fails by itself, and says why."""
    command = [*STEPLOG, "track", "a=1", "--run-id", "r"]
    done = subprocess.run(
        command,
        preexec_fn=_limit_file_size,  # nothing else runs in this process
        capture_output=True,
        text=True,
        timeout=DEADLINE_SECONDS,
        check=False,
    )

    assert done.returncode > 0
    assert "Traceback" not in done.stderr
    assert done.stderr.strip()


def _limit_file_size() -> None:
    import resource

    signal.signal(signal.SIGXFSZ, signal.SIG_DFL)
    resource.setrlimit(resource.RLIMIT_FSIZE, (0, 0))


def test_the_daemon_drains_what_a_limited_task_left(home: Path) -> None:
    """A torn end is passed over, and the run has its status."""
    run_program("""
        import os, resource, signal, steplog
        run = steplog.start_run("r")
        run.track_this(a=0)
        size = os.path.getsize(os.environ["STEPLOG_HOME"] + "/spool/r.jsonl")
        resource.setrlimit(resource.RLIMIT_FSIZE, (size + 500, size + 500))
        run.track({"text": "x" * 1000})
        run.track_this(b=1)
    """)

    done = steplogd("drain", "--config", configure(home))

    assert done.returncode == 0, done.stderr
    assert values(home)[0] == {"a": 0}
    assert document(home, "r")["status"] in ("SUCCESS", "FAIL")
