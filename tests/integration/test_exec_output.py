"""`steplog exec` shows and keeps what is printed: through pipes, terminals and full disks."""

from __future__ import annotations

import fcntl
import hashlib
import os
import pty
import select
import signal
import struct
import subprocess
import sys
import termios
import time
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from steplog.events import Catalog, Leave
from tests.commands import STEPLOG
from tests.conftest import DEADLINE_SECONDS, events, wait_until
from tests.execs import EXEC, kinds, log_of, run_exec, start_exec, values

if TYPE_CHECKING:
    from collections.abc import Iterator


class Terminal:
    """A terminal with a process in it, and somebody who looks at it and types."""

    def __init__(self, *words: str) -> None:
        self.pid, self._fd = pty.fork()
        if self.pid == 0:
            os.execvp(words[0], words)
        self.seen = b""
        self._from = 0

    def type(self, text: str) -> None:
        """Type; what is typed is echoed, as usual."""
        os.write(self._fd, text.encode())

    def wait_for(self, text: str) -> None:
        """Wait until a text is to be seen, after those that were waited for before."""
        deadline = time.monotonic() + DEADLINE_SECONDS
        while (found := self.seen.find(text.encode(), self._from)) < 0:
            left = deadline - time.monotonic()
            assert select.select([self._fd], [], [], max(left, 0))[0], f"{text} in {self.seen!r}"
            self.seen += os.read(self._fd, 4096)
        self._from = found + len(text.encode())

    def resize(self, rows: int, columns: int) -> None:
        """Give it another size."""
        fcntl.ioctl(self._fd, termios.TIOCSWINSZ, struct.pack("HHHH", rows, columns, 0, 0))

    def end(self) -> int:
        """Look to the end, and return the wait status."""
        while True:
            try:
                chunk = os.read(self._fd, 4096)
            except OSError:
                break
            if not chunk:
                break
            self.seen += chunk
        os.close(self._fd)
        return os.waitpid(self.pid, 0)[1]


@pytest.fixture
def small_disk(home: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """Put the home on a disk of its own with little room; its mount point."""
    if os.geteuid() != 0:
        pytest.skip("only root can mount a small disk")
    mount = tmp_path / "disk"
    mount.mkdir()
    command = ["mount", "-t", "tmpfs", "-o", "size=256k", "none", str(mount)]
    if subprocess.run(command, capture_output=True, check=False).returncode != 0:
        pytest.skip("cannot mount a small disk here")
    monkeypatch.setenv("STEPLOG_HOME", str(mount / "home"))
    yield mount
    subprocess.run(["umount", "--lazy", mount], check=True)


def catalog(home: Path) -> list[Catalog]:
    """Return the catalog entries of run `r`."""
    return [event for event in events(home, "r") if isinstance(event, Catalog)]


def test_the_log_is_an_entry_of_the_catalog(home: Path) -> None:
    """Its name, hash and place are those of the file, which nobody else may read."""
    run_exec("--task", "my shell", "--", "sh", "-c", "echo out; echo err >&2")

    (entry,) = catalog(home)
    name, folder = "my_shell.execution.log", home / "catalog" / "r"
    log = (folder / name).read_bytes()
    assert [b"err", b"out"] == sorted(log.splitlines())
    assert hashlib.sha256(log).hexdigest() == entry.data_hash
    assert (name, f"r/{name}") == (entry.name, entry.catalog_relative_path)
    assert (str(home / "catalog"), "put") == (entry.catalog_handler_location, entry.stage)
    assert 0o700 == folder.stat().st_mode & 0o777


def test_what_is_printed_is_not_tracked(home: Path) -> None:
    """Whatever it looks like."""
    run_exec("--", "echo", "STEPLOG_TRACK_a=1")

    assert "Track" not in kinds(home)


def test_a_command_that_prints_nothing_has_an_empty_log(home: Path) -> None:
    """Which has a hash as well."""
    run_exec("--", "true")

    assert [hashlib.sha256().hexdigest()] == [entry.data_hash for entry in catalog(home)]


def test_the_log_has_the_output_of_every_attempt(home: Path) -> None:
    """One that failed is not lost when it is done again."""
    run_exec("--", "sh", "-c", "echo first; exit 1")
    run_exec("--", "echo", "second")

    assert b"first\nsecond\n" == log_of(home)
    assert hashlib.sha256(b"first\nsecond\n").hexdigest() == catalog(home)[-1].data_hash


def test_a_nested_task_has_a_log_of_its_own(home: Path) -> None:
    """Under its dotted name; the outer one has all."""
    words = [*STEPLOG, "exec", "--task", "in side", "--", "echo", "in"]
    run_exec("--task", "out", "--", *words)

    assert (b"in\n", b"in\n") == (log_of(home, "out"), log_of(home, "out.in_side"))


def test_each_stream_goes_where_it_went(home: Path) -> None:
    """Standard output to standard output, the errors to the errors."""
    done = run_exec("--", "sh", "-c", "echo out; echo err >&2")

    assert (b"out\n", b"err\n") == (done.stdout, done.stderr)


def test_streams_that_are_one_keep_their_order(home: Path) -> None:
    """Where both go to the same file, lines stand as they were printed."""
    code = "for n in 1 2 3 4 5 6 7 8 9; do echo $n; echo $n >&2; done"
    done = run_exec("--", "sh", "-c", code, capture_output=False, stdout=-1, stderr=-2)

    assert "".join(f"{n}\n{n}\n" for n in range(1, 10)).encode() == done.stdout == log_of(home)


def test_output_comes_as_it_is_printed(home: Path) -> None:
    """Not only when the command has ended; nor does the log wait."""
    with start_exec("--", "sh", "-c", "echo begun; read x; echo done", stdin=-1) as process:
        assert process.stdout is not None
        assert process.stdin is not None
        assert b"begun\n" == process.stdout.readline()
        assert b"begun\n" == log_of(home)
        process.stdin.write(b"on\n")

        assert b"done\n" == process.stdout.readline()


def test_ten_megabytes_of_anything_pass_unchanged(home: Path) -> None:
    """Every byte of them, to the reader and into the log."""
    block = bytes(range(256)) * 40
    code = "import sys; [sys.stdout.buffer.write(bytes(range(256)) * 40) for _ in range(1024)]"
    done = run_exec("--", sys.executable, "-c", code)

    assert 1024 * block == done.stdout
    assert 1024 * block == log_of(home)


def test_what_stays_in_the_background_does_not_hold_exec(home: Path) -> None:
    """It has a moment, no more, though it keeps the pipe; what came before the end is there."""
    code = "sleep 60 & echo $!; head -c 60000 /dev/zero"
    done = run_exec("--", "sh", "-c", code)
    pid, _, rest = done.stdout.partition(b"\n")
    os.kill(int(pid), signal.SIGKILL)

    assert 60_000 == len(rest)


def test_what_is_printed_in_the_background_does_not_hold_exec(home: Path) -> None:
    """However much it is."""
    done = run_exec(
        "--",
        "sh",
        "-c",
        "yes >&2 & echo $!",
        stderr=subprocess.DEVNULL,
        stdout=-1,
        capture_output=False,
    )

    assert 0 == done.returncode
    wait_until(lambda: not os.path.exists(f"/proc/{int(done.stdout)}/fd"))  # noqa: PTH110


def test_a_reader_that_goes_away_ends_the_command(home: Path) -> None:
    """By SIGPIPE, as without us."""
    with start_exec("--", "yes") as process:
        assert process.stdout is not None
        assert b"y\n" == process.stdout.readline()
        process.stdout.close()

        assert -signal.SIGPIPE == process.wait(DEADLINE_SECONDS)
    (leave,) = [event for event in events(home) if isinstance(event, Leave)]
    assert "killed by SIGPIPE" == leave.message


def test_a_full_disk_costs_the_log_alone(small_disk: Path) -> None:
    """The command, its output and its status are whole, and there is one warning."""
    code = "head -c 1000000 /dev/zero; echo end; exit 3"
    done = run_exec("--", "sh", "-c", code)

    assert (3, 1_000_004) == (done.returncode, len(done.stdout))
    assert 1 == done.stderr.count(b"no longer kept")
    assert b"Traceback" not in done.stderr


def test_a_log_that_cannot_be_costs_itself_alone(home: Path) -> None:
    """There is a warning, and the rest is as ever."""
    (home / "catalog").mkdir(parents=True)
    (home / "catalog" / "r").touch()
    done = run_exec("--", "echo", "on")

    assert b"on\n" == done.stdout
    assert 1 == done.stderr.count(b"\n")
    assert ["Open", "Join", "Start", "End", "Leave"] == kinds(home)


def test_the_command_has_a_terminal_where_we_have_one(home: Path) -> None:
    """Of the same size, and as it comes; the log has plain ends of lines."""
    code = """
import os, signal
signal.pthread_sigmask(signal.SIG_BLOCK, [signal.SIGWINCH])
print([os.isatty(fd) for fd in (0, 1, 2)], flush=True)
while tuple(os.get_terminal_size(1)) != (77, 33): signal.sigwait([signal.SIGWINCH])
print("resized")"""
    terminal = Terminal(*EXEC, "--", sys.executable, "-c", code)
    terminal.wait_for("[True, True, True]\r\n")
    terminal.resize(33, 77)

    assert 0 == terminal.end()
    assert b"[True, True, True]\r\nresized\r\n" == terminal.seen
    assert b"[True, True, True]\nresized\n" == log_of(home)


def test_a_stream_that_is_no_terminal_stays_none(home: Path, tmp_path: Path) -> None:
    """Each stream is for itself."""
    code = "import os; print([os.isatty(fd) for fd in (1, 2)])"
    words = f'exec 2>{tmp_path / "errors"}; exec "$@"'
    terminal = Terminal("sh", "-c", words, "sh", *EXEC, "--", sys.executable, "-c", code)

    assert 0 == terminal.end()
    assert b"[True, False]\r\n" == terminal.seen


def test_an_interrupt_of_the_terminal_arrives_once(home: Path) -> None:
    """The kernel sends it to the command as well; we do not send it again."""
    code = """
import signal
got = []
signal.signal(signal.SIGINT, lambda *_: got.append(1))
print("ready", flush=True)
while not got: signal.pause()
print("second:", signal.sigtimedwait([signal.SIGINT], 0.1))"""
    terminal = Terminal(*EXEC, "--", sys.executable, "-c", code)
    terminal.wait_for("ready")
    terminal.type("\x03")

    assert 0 == terminal.end()
    assert b"second: None" in terminal.seen


def test_an_interrupt_ends_both(home: Path) -> None:
    """A shell above sees that the interrupt did it; what a script exported is tracked."""
    code = "export STEPLOG_TRACK_a=1; echo ready; sleep 60"
    terminal = Terminal(*EXEC, "--", "sh", "-c", code)
    terminal.wait_for("ready")
    terminal.type("\x03")

    assert signal.SIGINT == os.WTERMSIG(terminal.end())
    assert {"a": 1} == values(home)
    (leave,) = [event for event in events(home) if isinstance(event, Leave)]
    assert "killed by SIGINT" == leave.message


def test_a_job_is_stopped_and_goes_on(home: Path) -> None:
    """In a shell with job control: what is typed to stop it stops both."""
    terminal = Terminal("env", "PS1=ready> ", "bash", "--norc", "-i")
    terminal.wait_for("ready> ")
    words = "sh -c 'echo $$ > pid; echo be''gun; read x; echo got:$x'"
    quoted = f"{EXEC[0]} -c '{EXEC[2]}' exec --run-id r -- {words}\n"
    terminal.type(quoted)
    terminal.wait_for("begun\r\n")
    terminal.type("\x1a")
    terminal.wait_for("Stopped")
    terminal.wait_for("ready> ")
    # The shell waits for us alone: until the command has stopped too, it may take what is typed.
    stat = Path("/proc", Path("pid").read_text("ascii").strip(), "stat")
    wait_until(lambda: stat.read_text("ascii").rpartition(")")[2].split()[0] == "T")
    terminal.type("fg\n")
    terminal.wait_for("read x")
    terminal.type("hello\n")
    terminal.wait_for("got:hello")
    terminal.wait_for("ready> ")
    terminal.type("exit\n")

    assert 0 == terminal.end(), terminal.seen
    assert b"begun\ngot:hello\n" == log_of(home)
