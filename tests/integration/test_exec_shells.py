"""What `steplog exec` leaves as it is in a shell: status, stdin, output, the prelude."""

from __future__ import annotations

import os
import subprocess
from typing import TYPE_CHECKING

import pytest

from tests.execs import SHELLS, A, both, run_exec, script, values

if TYPE_CHECKING:
    from pathlib import Path


@both
@pytest.mark.parametrize(
    ("arguments", "expected"),
    [
        (("-c", 'echo "$0:$*"', "name", "a", "b"), b"name:a b\n"),
        (("-ec", "false; echo no"), b""),
        (("-e", "-u", "-c", "echo $1", "n", "x"), b"x\n"),
        (("-c", "case $- in *f*) echo f;; esac", "n"), b""),
        (("-fc", "case $- in *f*) echo *;; esac"), b"*\n"),
        (("-o", "noglob", "-c", "echo *"), b"*\n"),
        (("-c", "trap 'echo bye $?' EXIT; (exit 7)"), b"bye 7\n"),
        (("-c", "trap 'echo bye $?; exit 0' 0; false"), b"bye 1\n"),
        (("-ec", "trap 'echo bye $?' EXIT; false"), b"bye 1\n"),
        (("-c", "(trap 'echo sub' EXIT; true); echo on"), b"sub\non\n"),
        (("-c", "trap 'echo usr' USR1; kill -USR1 $$; echo on"), b"usr\non\n"),
        (("-c", "trap 'echo \"it is\"' EXIT; trap"), b"trap -- 'echo \"it is\"' EXIT\nit is\n"),
        (("-c", "trap 'echo bye' EXIT; x=$(trap; echo x); echo $?; trap - EXIT"), b"0\n"),
        (("-c", "trap 'echo bye' EXIT; (trap >/dev/null; exit 0); echo on"), b"on\nbye\n"),
        (("-c", "cat <<E\n$0\n'\nE\n"), None),
        (("-c", "alias x='echo x'\nread y; echo $y"), b"line\n"),
        (("-c", "f() { return 3; }; f; echo $?"), b"3\n"),
        (("-c", 'IFS=:; set -- a:b; echo "$1"; echo $1'), b"a:b\na b\n"),
    ],
)
def test_a_shell_does_what_it_does_without_us(
    home: Path, shell: str, arguments: tuple[str, ...], expected: bytes | None
) -> None:
    """Names, arguments, options, traps and statuses are as they would be."""
    done = run_exec("--", shell, *arguments, input=b"line\n")

    assert (f"{shell}\n'\n".encode() if expected is None else expected) == done.stdout
    assert b"" == done.stderr


@both
def test_a_text_that_is_no_script_has_its_own_status(home: Path, shell: str) -> None:
    """That of the shell's own complaint."""
    done = run_exec("--", shell, "-c", "echo 'on")

    assert (2, b"") == (done.returncode, done.stdout)


@both
def test_a_script_on_stdin_shares_it_with_its_commands(
    home: Path, tmp_path: Path, shell: str
) -> None:
    """What they read of it is as it would be without us."""
    path = script(tmp_path / "n", "echo on\ncat\nexit 3\n" + "# more\n" * 2000)
    with open(path, "rb") as file:  # noqa: PTH123
        done = run_exec("--", shell, stdin=file)
    with open(path, "rb") as file:  # noqa: PTH123
        expected = subprocess.run([shell], stdin=file, capture_output=True, check=False)

    assert (expected.returncode, expected.stdout) == (done.returncode, done.stdout)


@both
def test_a_script_is_read_line_by_line(home: Path, tmp_path: Path, shell: str) -> None:
    """One that grows while it runs goes on with its new lines."""
    script(tmp_path / "grows", "echo 'echo grown' >> grows\necho begun\n")
    done = run_exec("--", shell, "grows", cwd=tmp_path)

    assert b"begun\ngrown\n" == done.stdout


@both
def test_what_x_shows_is_the_scripts_own(home: Path, shell: str) -> None:
    """A trace has no line of a prelude in it."""
    words = [shell, "-xc", f"{A}echo on\n(exit 3)"]
    done = run_exec("--", *words)
    expected = subprocess.run(words, capture_output=True, check=False)

    assert expected.stderr == done.stderr


def test_the_users_own_prelude_of_bash_is_read(home: Path, tmp_path: Path) -> None:
    """BASH_ENV of the user still works, with the variables within it."""
    (tmp_path / "mine").write_text("export STEPLOG_TRACK_b=2; mine() { echo mine; }\n")
    environment = {**os.environ, "BASH_ENV": "$FOLDER/mine", "FOLDER": str(tmp_path)}
    done = run_exec("--", "bash", "-c", f"{A}mine", env=environment)

    assert b"mine\n" == done.stdout
    assert {"a": 1, "b": 2} == values(home)


def test_a_background_script_can_be_killed(home: Path, tmp_path: Path) -> None:
    """The process that a script starts in the background is the script, for either shell."""
    script(tmp_path / "serve", "#!/bin/sh\n: >up\nexec sleep 60\n")
    for shell in SHELLS:
        # Not before it is up: a shell with traps may miss a signal while it forks.
        code = "./serve & while ! [ -e up ]; do :; done; kill $!; wait $!; echo $?; rm up"
        done = run_exec("--", shell, "-c", code, cwd=tmp_path)
        assert b"143\n" == done.stdout


@both
def test_a_shell_with_a_new_environment_runs_as_ever(home: Path, shell: str) -> None:
    """Nobody could record there; neither its status nor its output suffers."""
    code = "env -i PATH=\"$PATH\" sh -c 'echo on; exit 3'"
    done = run_exec("--", shell, "-c", code)

    assert (3, b"on\n", b"") == (done.returncode, done.stdout, done.stderr)
