"""`steplog exec` tracks what its command exports, with the real dash and the real bash."""

from __future__ import annotations

import os
import signal
import sys
from typing import TYPE_CHECKING

import pytest

from tests.commands import STEPLOG
from tests.conftest import DEADLINE_SECONDS, tracked, wait_until
from tests.execs import A, both, run_exec, script, start_exec, values

if TYPE_CHECKING:
    from pathlib import Path


@both
@pytest.mark.parametrize(
    "prefix", ["STEPLOG_TRACK_", "runnable_TRACK_", "RUNNABLE_TRACK_", "MAGNUS_TRACK_"]
)
def test_exports_are_tracked_at_their_steps(home: Path, shell: str, prefix: str) -> None:
    """Each prefix, keys as they are written, steps that end the name."""
    code = f"export {prefix}Loss_STEP_3=0.5 {prefix}STEP_x=1 {prefix}a_STEP_=2 {prefix}b=c"
    run_exec("--", shell, "-c", code)

    assert {"Loss@3": 0.5, "STEP_x": 1, "a_STEP_": 2, "b": "c"} == values(home)


@both
def test_all_values_of_a_step_are_one_call(home: Path, shell: str) -> None:
    """However many; a line for each step."""
    code = "".join(f"export STEPLOG_TRACK_k{n}_STEP_{n % 2}={n}\n" for n in range(20))
    run_exec("--", shell, "-c", code)

    assert [10, 10] == [len(event.values) for event in tracked(home, "r")]


@both
def test_values_are_read_by_the_grammar_of_json(home: Path, shell: str) -> None:
    """Numbers, lists and objects; everything else stays a text, with all its lines."""
    texts = {"i": "42", "f": "1e3", "t": "true", "N": "NaN", "u": "1_000", "s": " 1", "e": ""}
    texts |= {
        "o": '{"a": [1, "x"]}',
        "l": "[1, 2.5]",
        "m": "one\n'two' \"$x\" \\\n\tthree\n",
        "ü": "é",
    }
    variables = {f"STEPLOG_TRACK_v{n}": text for n, text in enumerate(texts.values())}
    code = 'for n in 0 1 2 3 4 5 6 7 8 9 10; do eval "export STEPLOG_TRACK_v$n=\\"\\$V$n\\""; done'
    environment = {f"V{n}": text for n, text in enumerate(texts.values())}
    run_exec("--", shell, "-c", code, env={**os.environ, **environment})

    expected = {**texts, "i": 42, "f": 1000.0, "o": {"a": [1, "x"]}, "l": [1, 2.5]}
    assert len(variables) == len(values(home))
    assert list(expected.values()) == [values(home)[f"v{n}"] for n in range(len(texts))]


@both
@pytest.mark.parametrize(
    ("code", "status"),
    [
        ("exit 3", 3),
        ("false", 1),
        ("set -e; false; export STEPLOG_TRACK_a=2", 1),
        ("no-such-program", 127),
        ("kill -TERM $$", -15),
        ("kill -HUP $$", -1),
        ("(exit 4)", 4),
        ("set -u; echo $nothing", None),
        ("trap 'echo bye >&2; trap - EXIT' EXIT; exit 5", 5),
        ("trap 'false; export STEPLOG_TRACK_a=1' EXIT; export STEPLOG_TRACK_a=0; exit 3", 3),
        ("trap '' EXIT", 0),
        ("trap - EXIT; trap -- EXIT; trap 0; exit 6", 6),
        ("exec true", 0),
    ],
)
def test_exports_are_tracked_however_the_script_ends(
    home: Path, shell: str, code: str, status: int | None
) -> None:
    """By its last line, in the middle, by an error or by a signal."""
    slow = code.replace("exec true", "exec sleep 0.3")
    done = run_exec("--", shell, "-c", A + slow)

    assert {"a": 1} == values(home)
    assert status in (done.returncode, None)


@both
@pytest.mark.parametrize(
    "rest", ["sleep 60", "sleep 60 & wait", "while :; do :; done", "read line", "read line; exit"]
)
def test_exports_are_tracked_when_exec_is_terminated(home: Path, shell: str, rest: str) -> None:
    """Whatever the script does just then; both end by the signal."""
    with start_exec("--", shell, "-c", f"{A}echo ready; {rest}", stdin=-1) as process:
        assert process.stdout is not None
        assert b"ready\n" == process.stdout.readline()
        process.terminate()

        assert -signal.SIGTERM == process.wait(DEADLINE_SECONDS)
    assert {"a": 1} == values(home)


@both
@pytest.mark.parametrize("name", ["SIGTERM", "SIGINT", "SIGHUP", "SIGQUIT"])
def test_exports_are_tracked_when_a_signal_ends_the_group(
    home: Path, shell: str, name: str
) -> None:
    """As Ctrl-C, `timeout` and a cluster do; both end by the signal."""
    if (shell, name) == ("bash", "SIGQUIT"):
        pytest.skip("bash ignores it")
    code = f"{A}/bin/sh -c 'echo ready; exec sleep 60'; exit"
    with start_exec("--", shell, "-c", code, process_group=0) as process:
        assert process.stdout is not None
        assert b"ready\n" == process.stdout.readline()
        os.killpg(process.pid, signal.Signals[name])

        assert -signal.Signals[name] == process.wait(DEADLINE_SECONDS)
    assert {"a": 1} == values(home)


@pytest.mark.parametrize(
    ("code", "expected"),
    [
        ("trap 'echo got; exit 4' TERM; echo ready; sleep 1", (4, b"got\n")),
        ("trap '' TERM; echo ready; read x; exit 5", (5, b"")),
        ("trap 'echo got' INT; echo ready; sleep 60", (-signal.SIGTERM, b"")),
        ("trap 'echo got; exit 4' INT TERM; trap - TERM; echo ready; sleep 60", (-15, b"")),
        # No program runs that would know what the shell has exported.
        ("trap 'echo got' INT TERM; trap - TERM; echo ready; while :; do :; done", (-15, b"")),
    ],
)
def test_a_script_with_traps_of_its_own_keeps_them(
    home: Path, code: str, expected: tuple[int, bytes]
) -> None:
    """Nobody ends it before its handler has run, and what it has none for ends it at once."""
    with start_exec("--", "dash", "-c", f"{A}{code}", stdin=-1) as process:
        assert process.stdout is not None
        assert b"ready\n" == process.stdout.readline()
        process.terminate()
        printed, _ = process.communicate(b"\n", DEADLINE_SECONDS)

    assert expected == (process.returncode, printed)
    assert {"a": 1} == values(home)


@both
@pytest.mark.parametrize("nested", ["sh n", "bash n", "dash n", "./n", "env ./n"])
@pytest.mark.parametrize("first_line", ["#!/bin/sh", "#!/bin/bash", "#!/usr/bin/env sh"])
def test_a_nested_script_is_tracked(
    home: Path, tmp_path: Path, shell: str, nested: str, first_line: str
) -> None:
    """A child that exports, however it comes to be run but by its path from another program."""
    if (shell, nested, first_line) == ("bash", "env ./n", "#!/bin/sh"):
        pytest.skip("nothing in its environment makes dash read a prelude: the help says so")
    script(tmp_path / "n", f"{first_line}\nexport STEPLOG_TRACK_b=2\nexit 3\n")
    script(tmp_path / "outer", f"{nested}\necho $?\n{A}")
    done = run_exec("--", shell, "outer", cwd=tmp_path)

    assert b"3\n" == done.stdout
    assert {"a": 1, "b": 2} == values(home)


@pytest.mark.parametrize("shell", ["dash", "/bin/sh"])
def test_a_script_that_takes_the_place_of_sh_is_tracked(
    home: Path, tmp_path: Path, shell: str
) -> None:
    """`exec` hands over to it, and there is one process as without us."""
    script(tmp_path / "n", "#!/bin/sh\nexport STEPLOG_TRACK_b=2\necho $$ $PPID\n")
    done = run_exec("--", shell, "-c", f"{A}echo $$ $PPID; exec ./n", cwd=tmp_path)

    first, second = done.stdout.splitlines()
    assert first == second
    assert {"a": 1, "b": 2} == values(home)


@pytest.mark.parametrize("shell", ["dash", "/bin/sh"])
@pytest.mark.parametrize(
    ("code", "expected"),
    [
        ("exec true", (0, b"")),
        ("false || exec sh -c 'echo on; exit 3'", (3, b"on\n")),
        ("true || exec false; exec 3>&1; (exit 4); echo $? >&3; exec >&- true", (0, b"4\n")),
        ("false && exec true; case exec in exec) B=2 exec sh -c 'echo $B';; esac", (0, b"2\n")),
        ("set -- exec true; set -eu; unset STEPLOG_EXEC_FOLDER; exec env printf on", (0, b"on")),
        ("exec no-such-program", (127, b"")),
    ],
)
def test_exports_are_tracked_before_another_program_takes_over(
    home: Path, shell: str, code: str, expected: tuple[int, bytes]
) -> None:
    """However short it lives, and whatever stands before `exec`."""
    done = run_exec("--", shell, "-c", f"/bin/sleep 0.1; {A}{code}")

    assert expected == (done.returncode, done.stdout)
    assert {"a": 1} == values(home)


@both
def test_a_sourced_script_is_tracked(home: Path, tmp_path: Path, shell: str) -> None:
    """It is the shell's own; where it exits, the shell does."""
    script(tmp_path / "sourced", f"{A}exit 3\n")
    done = run_exec("--", shell, "-c", ". ./sourced; echo no", cwd=tmp_path)

    assert (3, b"") == (done.returncode, done.stdout)
    assert {"a": 1} == values(home)


@both
def test_a_script_two_levels_down_is_tracked(home: Path, tmp_path: Path, shell: str) -> None:
    """Each level gives the next one what it needs."""
    script(tmp_path / "third", "#!/bin/sh -e\nexport STEPLOG_TRACK_c=3\nfalse\necho no\n")
    script(tmp_path / "second", "#! /bin/sh\nexport STEPLOG_TRACK_b=2\n./third\n")
    done = run_exec("--", shell, "-c", f"{A}./second", cwd=tmp_path)

    assert (1, b"") == (done.returncode, done.stdout)
    assert {"a": 1, "b": 2, "c": 3} == values(home)


@pytest.mark.parametrize(
    "first_line", ["#!/bin/sh", "#!/bin/dash", "#!/bin/bash", "#!/usr/bin/env dash"]
)
def test_the_command_may_be_a_script(home: Path, tmp_path: Path, first_line: str) -> None:
    """By its path or by its name, and finds its own name and arguments."""
    path = script(tmp_path / "command", f'{first_line}\n{A}echo "$0:$#:$*"\n')
    environment = {**os.environ, "PATH": f"{tmp_path}:{os.environ['PATH']}"}
    done = run_exec("--", "command", "x  y", "", env=environment)

    assert f"{path}:2:x  y \n".encode() == done.stdout
    assert {"a": 1} == values(home)


def test_what_is_set_before_is_tracked_and_gone(home: Path) -> None:
    """Also at negative steps; the command does not see it."""
    variables = {"STEPLOG_TRACK_a": "1", "MAGNUS_TRACK_b_STEP_-2": "[1]", "STEPLOG_TRACKED": "x"}
    done = run_exec("--", "env", env={**os.environ, **variables})

    assert {"a": 1, "b@-2": [1]} == values(home)
    assert b"_TRACK_" not in done.stdout
    assert b"STEPLOG_TRACKED=x\n" in done.stdout


def test_a_nested_task_does_not_get_what_its_outer_one_had(home: Path) -> None:
    """Nor the other way round."""
    code = 'STEPLOG_TRACK_b=2 "$0" -c "$1" exec --task inner -- sh -c "export STEPLOG_TRACK_c=3"'
    words = ["sh", "-c", code, STEPLOG[0], STEPLOG[2]]
    run_exec("--task", "outer", "--", *words, env={**os.environ, "STEPLOG_TRACK_a": "1"})

    assert {"a": 1} == values(home, "outer")
    assert {"b": 2, "c": 3} == values(home, "outer", "inner")


def test_the_next_task_gets_nothing(home: Path) -> None:
    """What one command exported is not in the next one's environment."""
    run_exec("--task", "first", "--", "sh", "-c", A)
    run_exec("--task", "second", "--", "sh", "-c", "true")

    assert ({"a": 1}, {}) == (values(home, "first"), values(home, "second"))


@both
def test_long_values_are_tracked(home: Path, shell: str) -> None:
    """Of 200 KB too, which no program's environment could hold, beside short ones."""
    code = 'x=$(head -c 200000 /dev/zero | tr \'\\0\' "\'")\nexport STEPLOG_TRACK_long="$x"\n'
    run_exec("--", shell, "-c", f"export STEPLOG_TRACK_short='1\n\t$'\n{code}")

    assert {"long": 200_000 * "'", "short": "1\n\t$"} == values(home)


@both
def test_more_than_a_line_holds_is_several_calls(home: Path, shell: str) -> None:
    """What fits into no line is warned of; the rest arrives."""
    code = 'x=$(head -c 100000 /dev/zero | tr "\\0" x)\n'
    code += "".join(f'export STEPLOG_TRACK_k{n}="$x"\n' for n in range(5))
    code += 'export STEPLOG_TRACK_huge="$x$x$x" STEPLOG_TRACK_z=1\n'
    done = run_exec("--", shell, "-c", code)

    assert {"k0", "k1", "k2", "k3", "k4", "z"} == values(home).keys()
    assert 1 == done.stderr.count(b"not recorded")


def test_many_shells_at_once_are_told_apart(home: Path) -> None:
    """What each of them records is whole."""
    code = 'for n in 1 2 3 4 5 6 7 8 9; do sh -c "export STEPLOG_TRACK_k$n=$n" & done; wait'
    run_exec("--", "sh", "-c", code)

    assert {f"k{n}": n for n in range(1, 10)} == values(home)


def test_a_program_that_takes_the_shells_place_is_seen(home: Path) -> None:
    """`exec` leaves no shell that could record."""
    wait = f'{sys.executable} -c "input()"'
    with start_exec("--", "sh", "-c", f"{A}exec {wait}", stdin=-1) as process:
        wait_until(lambda: (home / "spool" / "r.jsonl").exists() and bool(tracked(home, "r")))
        assert process.stdin is not None
        process.stdin.close()

        assert 1 == process.wait(DEADLINE_SECONDS)
    assert {"a": 1} == values(home)
