"""`steplog tail`: what it makes of lines, where it begins, and how it follows."""

from __future__ import annotations

import json
import os
import signal
import subprocess
from typing import TYPE_CHECKING, Any

import pytest

from steplog.cli import main
from steplog.cli.event_text import describe
from steplog.cli.tail import CHUNK_BYTES, start_of_last, whole_lines
from steplog.decoding import decode
from tests.commands import STEPLOG, read_line, start
from tests.conftest import DEADLINE_SECONDS
from tests.lines import append

if TYPE_CHECKING:
    from pathlib import Path


@pytest.fixture(autouse=True)
def own_home(home: Path) -> Path:
    """Give each test a home of its own, which nothing has made yet."""
    return home


def test_tail_prints_time_task_step_and_values(home: Path, capsys: Any) -> None:
    """One event is one line, and what it does not say is left out."""
    append(
        home,
        "r",
        b'{"t":"track","ts":1704779082841295,"task":["a","b"],"step":3,"values":{"x":1,"y":"z"}}\n'
        b'{"t":"track","values":{"x":null}}\n',
    )
    assert main(["tail", "r", "--no-follow"]) == 0

    assert capsys.readouterr().out == (
        '05:44:42.841  track    a.b  step 3  x=1 y="z"\n'
        "--:--:--.---  track    main  step 0  x=null\n"
    )


@pytest.mark.parametrize(
    ("line", "said"),
    [
        (b'{"t":"join","tag":"t","parameters":{"lr":0.1}}', 'join     tag="t" lr=0.1'),
        (b'{"t":"leave","status":"FAIL","message":"why"}', "leave    FAIL why"),
        (b'{"t":"start","task":"fit","parameters":{"k":2}}', "start    fit  k=2"),
        (b'{"t":"start","task":"a","step_type":"x"}', 'start    a  step_type="x"'),
        (b'{"t":"end","task":"fit"}', "end      fit  SUCCESS"),
        (b'{"t":"lost","count":2,"reason":"full"}', "lost     2 calls could not be recorded: full"),
        (b'{"t":"code","code_identifier":"abc"}', "code     git abc"),
        (b'{"t":"catalog","name":"f","data_hash":"aa"}', "catalog  main  put f aa"),
        (b'{"t":"open","w":"a","pid":7,"host":"h"}', "open     writer a, process 7 on h"),
        (b'{"t":"zebra"}', "unknown  a line of the kind zebra"),
        (b'{"t":"tra', "bad      at byte 0: "),
    ],
)
def test_every_kind_of_event_is_described(line: bytes, said: str) -> None:
    """Kinds that are unknown, and pieces that are no event, are shown as such."""
    (event,) = decode(line + b"\n")

    assert describe(event).startswith(f"--:--:--.---  {said}")


@pytest.mark.parametrize(
    "line",
    [
        {"t": "track", "task": "\x1b]0;t\x07", "values": {"k\x1b[2J": "v\r\x9b31m\u202e\n"}},
        {"t": "track", "task": ["a\x1b", "b"], "values": {"a": {"\x1b": ["\x07"]}}},
        {"t": "leave", "message": "a\nb\x1b"},
        {"t": "zebra\x1b"},
        {"t": "join", "tag": "\x1b", "parameters": {"\x1b": "\x1b"}},
        {"t": "open", "w": "\x1b", "host": "\x1b"},
        {"t": "catalog", "name": "\x1b", "stage": "\x1b"},
        {"t": "lost", "count": 1, "reason": "\x1b"},
        {"t": "code", "code_identifier": "\x1b"},
    ],
)
def test_no_control_character_reaches_the_terminal(line: dict[str, Any]) -> None:
    """Texts, keys and names are written out, so that no tracked text acts on the terminal."""
    (event,) = decode(json.dumps(line).encode() + b"\n")

    assert describe(event).isprintable()
    assert "\\x1b" in describe(event)


def test_a_torn_line_cannot_act_on_the_terminal() -> None:
    """Bytes that are no event may hold escape sequences as they are."""
    (event,) = decode(b"\x1b[2J\xff\x07\n")

    assert describe(event).isprintable()


def test_kinds_are_coloured_only_for_a_terminal(home: Path) -> None:
    """A pipe gets plain text; a terminal a coloured kind, unless NO_COLOR is set."""
    append(home, "r", b'{"t":"track","values":{"x":1}}\n')

    assert b"\x1b[32mtrack" in _on_a_terminal("tail", "--no-follow")
    assert b"\x1b" not in _on_a_terminal("tail", "--no-follow", NO_COLOR="1")
    piped = subprocess.run([*STEPLOG, "tail", "--no-follow"], capture_output=True, check=True)
    assert b"\x1b" not in piped.stdout


def _on_a_terminal(*arguments: str, **environment: str) -> bytes:
    master, terminal = os.openpty()
    try:
        subprocess.run(
            [*STEPLOG, *arguments],
            stdout=terminal,
            check=True,
            timeout=DEADLINE_SECONDS,
            env={**os.environ, "TERM": "xterm", **environment},
        )
        return os.read(master, 10_000)
    finally:
        os.close(master)
        os.close(terminal)


def test_raw_lines_are_printed_byte_for_byte(home: Path, capsysbinary: Any) -> None:
    """Whole lines come out as they stand, torn ones too; an unfinished one does not."""
    append(home, "r", b'{"t":"a"}\n\xff{"torn\n\n{"t":"unfinished')
    assert main(["tail", "r", "--no-follow", "--raw"]) == 0

    assert capsysbinary.readouterr().out == b'{"t":"a"}\n\xff{"torn\n\n'


@pytest.mark.parametrize("count", [0, 1, 2, 4095, 4096, 20_000, 20_001])
def test_the_last_lines_are_found_from_the_end(count: int, tmp_path: Path) -> None:
    """Any number of lines back, over any number of chunks, not counting an unfinished one."""
    lines = [b"%d" % number * (number % 7 + 1) for number in range(20_000)]
    (tmp_path / "file").write_bytes(b"\n".join([*lines, b"unfinished"]))
    fd = os.open(tmp_path / "file", os.O_RDONLY)
    try:
        begin = start_of_last(fd, count)
        found = b"".join(chunk for _, chunk in whole_lines(fd, begin, is_following=False))
    finally:
        os.close(fd)

    assert found.split(b"\n")[:-1] == (lines[-count:] if count else [])


def test_finding_the_last_lines_reads_only_the_end(tmp_path: Path) -> None:
    """A spool of 100 GB (a hole, mostly) takes no longer than a small one."""
    with (tmp_path / "file").open("wb") as file:
        file.seek(100 * 2**30)
        file.write(b"\n" + b'{"t":"track"}\n' * 20)
    fd = os.open(tmp_path / "file", os.O_RDONLY)
    try:
        assert start_of_last(fd, 10) == 100 * 2**30 + 1 + 10 * len(b'{"t":"track"}\n')
    finally:
        os.close(fd)


def test_bytes_without_an_end_take_bounded_memory(tmp_path: Path) -> None:
    """What has no LF for longer than any line is handed on in pieces, and nothing is lost."""
    size = 3 * 2**20
    (tmp_path / "file").write_bytes(b"x" * size + b"\n")
    fd = os.open(tmp_path / "file", os.O_RDONLY)
    try:
        pieces = list(whole_lines(fd, 0, is_following=False))
    finally:
        os.close(fd)

    assert sum(len(piece) for _, piece in pieces) == size + 1
    assert max(len(piece) for _, piece in pieces) <= 2**20 + CHUNK_BYTES
    assert [offset for offset, _ in pieces] == [
        sum(len(piece) for _, piece in pieces[:i]) for i in range(len(pieces))
    ]


def test_tail_follows_the_spool_line_by_line(home: Path) -> None:
    """A line shows when it is whole, and not before; an interrupt ends it with status 130."""
    path = append(home, "r", b'{"t":"track","values":{"x":1}}\n{"t":"track","values":{"x":2}}\n')
    process = start("tail", "-n", "1")
    try:
        assert read_line(process.stdout).endswith(b"x=2\n")
        with path.open("ab", buffering=0) as spool:
            spool.write(b'{"t":"track","val')
            spool.write(b'ues":{"x":3}}\n')
            assert read_line(process.stdout).endswith(b"x=3\n")
        process.send_signal(signal.SIGINT)
        out, err = process.communicate(timeout=DEADLINE_SECONDS)
    finally:
        process.kill()

    assert (process.returncode, out, err) == (130, b"", b"")


@pytest.mark.parametrize("run", [["r"], []])
def test_tail_waits_for_a_spool_that_is_not_there_yet(run: list[str], home: Path) -> None:
    """It says once that it waits, and shows the first line when it comes."""
    process = start("tail", *run)
    try:
        assert b"waiting for it" in read_line(process.stderr)
        assert main(["track", "--run-id", "r", "x=1"]) == 0
        assert read_line(process.stdout).endswith(b"x=1\n")
    finally:
        process.kill()
        process.communicate()


def test_tail_takes_the_spool_that_was_appended_to_last(home: Path, capsys: Any) -> None:
    """Without a run, the most recent one is meant; other files there are none."""
    os.utime(append(home, "old", b'{"t":"track","values":{"x":1}}\n'), (1, 1))
    os.utime(append(home, "new", b'{"t":"track","values":{"x":2}}\n'), (2, 2))
    (home / "spool" / "note.txt").touch()
    assert main(["tail", "--no-follow"]) == 0

    assert capsys.readouterr().out.endswith("x=2\n")


@pytest.mark.parametrize("options", [[], ["--no-follow"], ["--raw"]])
def test_a_spool_that_is_compressed_is_said_to_be(
    home: Path, capsys: Any, options: list[str]
) -> None:
    """With where it lies, and how to print it; nobody waits for it. A run `r.1` is another one."""
    (home / "archive").mkdir(parents=True)
    for name in ("r.10.jsonl", "r.2.jsonl.gz", "r.1.3.jsonl.gz", "r.0.jsonl"):
        (home / "archive" / name).touch()
    assert main(["tail", "r", *options]) == 1

    archive = home / "archive"
    assert capsys.readouterr().err == (
        "steplog: the spool of run r was archived and compressed: "
        f"`zcat -f {archive}/r.2.jsonl.gz {archive}/r.10.jsonl` prints it, "
        "`steplog show r` its run log\n"
    )


def test_a_spool_that_was_removed_is_said_to_be(folded: Any, capsys: Any) -> None:
    """As the run log knows the run; a run that it does not know is waited for."""
    assert main(["tail", "done"]) == 1

    assert "the spool of run done was removed" in capsys.readouterr().err
    assert main(["tail", "other", "--no-follow"]) == 1
    assert "no spool of run other is in" in capsys.readouterr().err
