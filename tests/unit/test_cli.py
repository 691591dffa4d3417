"""The `steplog` command, called in this process and as processes of its own."""

from __future__ import annotations

import json
import os
import select
import signal
import sqlite3
import subprocess
import sys
from pathlib import Path
from typing import IO, TYPE_CHECKING, Any

import pytest

import steplogd.store
from steplog.cli import COMMANDS, main
from steplog.cli.event_text import describe
from steplog.cli.tail import CHUNK_BYTES, start_of_last, whole_lines
from steplog.decoding import decode
from steplog.run import RUN_ID_VARIABLES
from steplog.value_text import parse_value

if TYPE_CHECKING:
    from collections.abc import Iterator

SCHEMA = Path(steplogd.store.__file__).with_name("schema.sql").read_text("utf-8")
START = 1704779082841295  # 2024-01-09 05:44:42.841295
COMMAND = (sys.executable, "-c", "import sys; from steplog.cli import main; sys.exit(main())")
SECONDS = 30.0


@pytest.fixture(autouse=True)
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Give each test a home of its own, and no run or task from outside."""
    for name in (*RUN_ID_VARIABLES, "STEPLOG_TASK"):
        monkeypatch.delenv(name, raising=False)
    path = tmp_path / "home"
    monkeypatch.setenv("STEPLOG_HOME", str(path))
    return path


@pytest.fixture
def folded(home: Path) -> Iterator[sqlite3.Connection]:
    """Give a store with one run, `done`, that has one task with two attempts and two series."""
    home.mkdir()
    connection = sqlite3.connect(home / "steplog.db", isolation_level=None)
    connection.executescript(f"BEGIN; {SCHEMA}; PRAGMA user_version = 2; COMMIT")
    _insert_run(connection, 1, "done", tag="nightly")
    connection.execute("""INSERT INTO task VALUES (1, 0, '["train"]', 'SUCCESS', '', 'task', 0)""")
    sql = "INSERT INTO attempt VALUES (1, 0, ?, ?, ?, 'SUCCESS', '', '{}')"
    connection.executemany(sql, [(number, START, START + 8643) for number in (1, 2)])
    connection.execute("INSERT INTO series VALUES (1, 0, 0, 1, 'loss'), (1, 1, 0, 1, 'note')")
    points = [(1, 0, 1, 0.5), (2, 0, 2, 0.25), (3, 1, 0, '"hot\\u001b[31m"')]
    for position, series_no, step, value in points:
        row = (position, series_no, step, START, value)
        connection.execute("INSERT INTO observation VALUES (1, ?, ?, ?, ?, ?)", row)
    yield connection
    connection.close()


def _insert_run(connection: sqlite3.Connection, run_no: int, run_id: str, **changes: Any) -> None:
    usual = {"tag": "", "status": "SUCCESS", "killed": 0, "message": "", "start_ts": START}
    usual |= {"end_ts": START + 3_723_000_000, "parameters": "{}", "config": "{}", "position": 3}
    usual |= dict.fromkeys(("revision", "lost", "gaps", "repeated", "unknown", "malformed"), 0)
    columns = {"run_no": run_no, "run_id": run_id, **usual, **changes}
    names, marks = ", ".join(columns), ", ".join("?" * len(columns))
    connection.execute(f"INSERT INTO run ({names}) VALUES ({marks})", list(columns.values()))


def _lines(home: Path, run_id: str = "r") -> list[dict[str, Any]]:
    spool = home / "spool" / f"{run_id}.jsonl"
    return [json.loads(line) for line in spool.read_bytes().splitlines()]


def _spool(home: Path, lines: bytes, run_id: str = "r") -> Path:
    path = home / "spool" / f"{run_id}.jsonl"
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(lines)
    return path


def _start(*arguments: str) -> subprocess.Popen[bytes]:
    return subprocess.Popen(
        [*COMMAND, *arguments], stdout=subprocess.PIPE, stderr=subprocess.PIPE, bufsize=0
    )


def _read_line(stream: IO[bytes] | None) -> bytes:
    """Wait for a line, so that a command that never prints it fails the test by name."""
    assert stream is not None
    assert select.select([stream], [], [], SECONDS)[0], "no line came"
    return stream.readline()


# All commands


@pytest.mark.parametrize("command", COMMANDS)
def test_help_has_an_example(command: str, capsys: pytest.CaptureFixture[str]) -> None:
    """Every command shows itself in use."""
    assert main([command, "--help"]) == 0

    assert f"example:\n  steplog {command}" in capsys.readouterr().out


def test_help_names_the_commands(capsys: pytest.CaptureFixture[str]) -> None:
    """The command's own help lists all that there are."""
    assert main(["--help"]) == 0

    out = capsys.readouterr().out
    assert [name for name in COMMANDS if f"\n  {name} " not in out] == []


def test_the_version_is_told(capsys: pytest.CaptureFixture[str]) -> None:
    """`--version` is a line of its own, with the command's name."""
    assert main(["--version"]) == 0

    assert capsys.readouterr().out.startswith("steplog ")


@pytest.mark.parametrize(
    "argv",
    [
        [],
        ["nonsense"],
        ["--nonsense"],
        ["track"],
        ["track", "--run-id", "r", "novalue"],
        ["track", "--run-id", "r", "=1"],
        ["track", "--run-id", "r", "a=1", "a=2"],
        ["track", "--run-id", "../r", "a=1"],
        ["track", "--run-id", "r", "--step", "1.5", "a=1"],
        ["track", "--run-id", "r", "--step", str(2**63), "a=1"],
        ["track", "--run-id", "r", "a=" + "[" * 100_000],
        ["tail", "-n", "-1"],
        ["tail", ".hidden"],
        ["tail", "a\nb\x1b[31m"],
        ["show"],
        ["show", "a/b"],
        ["show", "r", "--attempt", "0"],
        ["compare"],
        ["compare", "r"],
        ["compare", "r", "s", "r"],
        ["compare", "r", "a/b"],
        ["ls", "surplus"],
    ],
)
def test_a_wrong_call_is_one_sentence_and_status_2(
    argv: list[str], home: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """It says where the help is, and nothing is written."""
    assert main(argv) == 2

    captured = capsys.readouterr()
    assert captured.out == ""
    assert captured.err.count("\n") == 1
    assert captured.err[:-1].isprintable()
    assert "--help`" in captured.err
    assert not home.exists()


@pytest.mark.parametrize(
    ("argv", "advice"),
    [
        (["track", "a=1"], "STEPLOG_RUN_ID"),
        (["track", "--run-id", "r", "a=" + "x" * 300_000], "at most"),
        (["tail", "--no-follow"], "track something first"),
        (["tail", "r", "--no-follow"], "track something first"),
        (["show", "r"], "steplogd drain"),
        (["show", "r", "--json"], "steplogd drain"),
        (["compare", "r", "s"], "steplogd drain"),
    ],
)
def test_a_failure_is_one_sentence_and_status_1(
    argv: list[str], advice: str, capsys: pytest.CaptureFixture[str]
) -> None:
    """It says what to do."""
    assert main(argv) == 1

    captured = capsys.readouterr()
    assert captured.out == ""
    assert captured.err.count("\n") == 1
    assert advice in captured.err


@pytest.mark.parametrize(
    "argv", [["track", "--run-id", "r", "a=1"], ["ls"], ["show", "r"], ["tail"]]
)
def test_a_home_that_is_no_folder_is_one_sentence(
    argv: list[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: Any
) -> None:
    """An unusable home names the path, and never shows a traceback."""
    (tmp_path / "file").touch()
    monkeypatch.setenv("STEPLOG_HOME", str(tmp_path / "file"))

    assert main(argv) == 1
    err = capsys.readouterr().err
    assert err.count("\n") == 1
    assert f"{tmp_path}/file" in err


def test_a_user_without_a_home_directory_is_told(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """Where nothing says where things lie, the sentence names the variable to set."""

    def fail() -> Path:
        raise RuntimeError("Could not determine home directory.")

    monkeypatch.setattr("steplog.cli.arguments.default_home", fail)

    assert main(["ls"]) == 1
    assert "set STEPLOG_HOME" in capsys.readouterr().err


def test_a_reader_that_goes_away_is_no_error(home: Path) -> None:
    """`steplog tail | head -1` ends like any command that SIGPIPE kills, and says nothing."""
    _spool(home, b'{"t":"track","values":{"a":1}}\n' * 50_000)
    process = _start("tail", "--no-follow", "-n", "50000")
    assert process.stdout is not None
    _read_line(process.stdout)
    process.stdout.close()

    assert process.wait(SECONDS) == 141
    assert process.stderr is not None
    assert process.stderr.read() == b""
    process.stderr.close()


def test_a_full_disk_behind_the_output_is_one_sentence(folded: sqlite3.Connection) -> None:
    """What cannot be printed is said on stderr, once."""
    with Path("/dev/full").open("wb") as full:
        done = subprocess.run(
            [*COMMAND, "ls"], stdout=full, stderr=subprocess.PIPE, check=False, timeout=SECONDS
        )

    assert done.returncode == 1
    assert done.stderr.count(b"\n") == 1
    assert b"No space left" in done.stderr


def test_characters_that_the_terminal_lacks_are_escaped(folded: sqlite3.Connection) -> None:
    """A locale without UTF-8 costs no error, only an escape."""
    folded.execute("UPDATE run SET tag = 'nächtlich'")
    environment = {**os.environ, "PYTHONIOENCODING": "ascii"}
    done = subprocess.run(
        [*COMMAND, "ls"], capture_output=True, check=True, timeout=SECONDS, env=environment
    )

    assert b"n\\xe4chtlich" in done.stdout


# track


def test_track_appends_one_line_of_a_visitor(home: Path) -> None:
    """Values by JSON's grammar, step and task; no writer id and no number."""
    argv = ["track", "--run-id", "r", "loss=0.25", "--step", "-3", "n=[1, 2]", "--task", "fit"]
    assert main(argv) == 0

    (line,) = _lines(home)
    assert isinstance(line.pop("ts"), int)
    values = {"loss": 0.25, "n": [1, 2]}
    assert line == {"t": "track", "task": "fit", "step": -3, "values": values}
    assert (home / "spool" / "r.jsonl").read_bytes().startswith(b'{"t":"track",')


def test_track_does_not_join_the_run(home: Path) -> None:
    """A visitor's line is the only one, so that it neither starts nor ends the run."""
    assert main(["track", "--run-id", "r", "a=1"]) == 0
    assert main(["track", "--run-id", "r", "a=2"]) == 0

    assert [line["t"] for line in _lines(home)] == ["track", "track"]


@pytest.mark.parametrize("name", RUN_ID_VARIABLES)
def test_track_takes_the_run_and_task_from_the_environment(
    name: str, home: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Any of the variables names the run; `--run-id` and `--task` go before them."""
    monkeypatch.setenv(name, "r")
    monkeypatch.setenv("STEPLOG_TASK", "fit")
    assert main(["track", "a=1"]) == 0
    assert main(["track", "--run-id", "other", "--task", "eval", "a=1"]) == 0

    assert _lines(home)[0]["task"] == "fit"
    assert _lines(home, "other")[0]["task"] == "eval"


def test_track_needs_a_run_id_that_can_be(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """A run id from the environment is checked like any other."""
    monkeypatch.setenv("STEPLOG_RUN_ID", "../r")

    assert main(["track", "a=1"]) == 1
    assert "cannot be a run id" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("42", 42),
        ("-0.5", -0.5),
        ("1e3", 1000.0),
        ("42.0", 42.0),
        ("9" * 5000, 10**5000 - 1),
        ('{"a": [1, {"b": null}]}', {"a": [1, {"b": None}]}),
        ("[1, 2.0]", [1, 2.0]),
        ("", ""),
        ("true", "true"),
        ("True", "True"),
        ("null", "null"),
        ("NaN", "NaN"),
        ("-Infinity", "-Infinity"),
        ("[NaN]", "[NaN]"),
        ("[1,", "[1,"),
        ("007", "007"),
        ("+1", "+1"),
        ("1_000", "1_000"),
        ("1.", "1."),
        (" 1", " 1"),
        ("0x10", "0x10"),
        ("٣", "٣"),
        ('"42"', '"42"'),
        ("a=b", "a=b"),
    ],
    ids=lambda value: repr(value)[:20] if isinstance(value, str) else "",
)
def test_a_value_is_read_by_the_grammar_of_json(text: str, expected: Any) -> None:
    """Numbers, lists and objects are what JSON says they are; everything else is a text."""
    found = parse_value(text)

    assert found == expected
    assert type(found) is type(expected)


def test_any_value_comes_back_from_the_line(home: Path) -> None:
    """Escapes, huge integers, bytes that are no UTF-8, and text that reads like a line survive."""
    like_a_line = '{"t":"track","values":{}}'
    given = {"a": "\udcff\x1b", "b": "9" * 5000, "c": '{"$float":"NaN"}', "d": f"[{like_a_line}]"}
    assert main(["track", "--run-id", "r", *(f"{k}={v}" for k, v in given.items())]) == 0

    (event,) = decode((home / "spool" / "r.jsonl").read_bytes())
    expected = {"a": "\udcff\x1b", "b": 10**5000 - 1, "c": {"$float": "NaN"}}
    assert event.values == {**expected, "d": [{"t": "track", "values": {}}]}  # type: ignore[union-attr]


# tail


def test_tail_prints_time_task_step_and_values(home: Path, capsys: Any) -> None:
    """One event is one line, and what it does not say is left out."""
    _spool(
        home,
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
    _spool(home, b'{"t":"track","values":{"x":1}}\n')

    assert b"\x1b[32mtrack" in _on_a_terminal("tail", "--no-follow")
    assert b"\x1b" not in _on_a_terminal("tail", "--no-follow", NO_COLOR="1")
    piped = subprocess.run([*COMMAND, "tail", "--no-follow"], capture_output=True, check=True)
    assert b"\x1b" not in piped.stdout


def _on_a_terminal(*arguments: str, **environment: str) -> bytes:
    master, terminal = os.openpty()
    try:
        subprocess.run(
            [*COMMAND, *arguments],
            stdout=terminal,
            check=True,
            timeout=SECONDS,
            env={**os.environ, "TERM": "xterm", **environment},
        )
        return os.read(master, 10_000)
    finally:
        os.close(master)
        os.close(terminal)


def test_raw_lines_are_printed_byte_for_byte(home: Path, capsysbinary: Any) -> None:
    """Whole lines come out as they stand, torn ones too; an unfinished one does not."""
    _spool(home, b'{"t":"a"}\n\xff{"torn\n\n{"t":"unfinished')
    assert main(["tail", "r", "--no-follow", "--raw"]) == 0

    assert capsysbinary.readouterr().out == b'{"t":"a"}\n\xff{"torn\n\n'


@pytest.mark.parametrize("count", [0, 1, 2, 4095, 4096, 20_000, 20_001])
def test_the_last_lines_are_found_from_the_end(count: int, tmp_path: Path) -> None:
    """Any number of lines back, over any number of chunks, not counting an unfinished one."""
    lines = [b"%d" % number * (number % 7 + 1) for number in range(20_000)]
    (tmp_path / "file").write_bytes(b"\n".join([*lines, b"unfinished"]))
    fd = os.open(tmp_path / "file", os.O_RDONLY)
    try:
        start = start_of_last(fd, count)
        found = b"".join(chunk for _, chunk in whole_lines(fd, start, is_following=False))
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
    path = _spool(home, b'{"t":"track","values":{"x":1}}\n{"t":"track","values":{"x":2}}\n')
    process = _start("tail", "-n", "1")
    try:
        assert _read_line(process.stdout).endswith(b"x=2\n")
        with path.open("ab", buffering=0) as spool:
            spool.write(b'{"t":"track","val')
            spool.write(b'ues":{"x":3}}\n')
            assert _read_line(process.stdout).endswith(b"x=3\n")
        process.send_signal(signal.SIGINT)
        out, err = process.communicate(timeout=SECONDS)
    finally:
        process.kill()

    assert (process.returncode, out, err) == (130, b"", b"")


@pytest.mark.parametrize("run", [["r"], []])
def test_tail_waits_for_a_spool_that_is_not_there_yet(run: list[str], home: Path) -> None:
    """It says once that it waits, and shows the first line when it comes."""
    process = _start("tail", *run)
    try:
        assert b"waiting for it" in _read_line(process.stderr)
        assert main(["track", "--run-id", "r", "x=1"]) == 0
        assert _read_line(process.stdout).endswith(b"x=1\n")
    finally:
        process.kill()
        process.communicate()


def test_tail_takes_the_spool_that_was_appended_to_last(home: Path, capsys: Any) -> None:
    """Without a run, the most recent one is meant; other files there are none."""
    os.utime(_spool(home, b'{"t":"track","values":{"x":1}}\n', "old"), (1, 1))
    os.utime(_spool(home, b'{"t":"track","values":{"x":2}}\n', "new"), (2, 2))
    (home / "spool" / "note.txt").touch()
    assert main(["tail", "--no-follow"]) == 0

    assert capsys.readouterr().out.endswith("x=2\n")


# ls


def test_ls_lists_the_newest_run_first(folded: sqlite3.Connection, home: Path, capsys: Any) -> None:
    """Runs in the run log by their start, and above them those that have a spool alone."""
    killed = {"status": "FAIL", "killed": 1, "tag": "\x1b[31m", "position": 1_234_567}
    _insert_run(folded, 2, "later", **killed, start_ts=START + 1_000_000)
    _insert_run(folded, 3, "open", status="PROCESSING", start_ts=START + 2_000_000, end_ts=None)
    os.utime(_spool(home, b"", "fresh"), (2, 2))
    os.utime(_spool(home, b"", "stale"), (1, 1))
    _spool(home, b"", "done")
    (home / "spool" / ".hidden.jsonl").touch()
    assert main(["ls"]) == 0

    assert capsys.readouterr().out.splitlines() == [
        "RUN    STATUS          TAG       STARTED (UTC)        DURATION  OBSERVATIONS",
        "fresh  not folded yet",
        "stale  not folded yet",
        "open   PROCESSING      -         2024-01-09 05:44:44  -         3",
        "later  FAIL (killed)   \\x1b[31m  2024-01-09 05:44:43  1:02:02   1,234,567",
        "done   SUCCESS         nightly   2024-01-09 05:44:42  1:02:03   3",
    ]


def test_ls_selects_by_tag_and_prints_json(
    folded: sqlite3.Connection, home: Path, capsys: Any
) -> None:
    """An array of objects, with NaN as text, for other programs."""
    _insert_run(folded, 2, "other", parameters='{"lr":{"$float":"NaN"}}')
    _spool(home, b"", "fresh")
    assert main(["ls", "--tag", "nightly", "--json"]) == 0
    assert [run["run_id"] for run in json.loads(capsys.readouterr().out)] == ["done"]

    assert main(["ls", "--json"]) == 0
    fresh, other, done = json.loads(capsys.readouterr().out)
    assert (fresh["run_id"], fresh["status"]) == ("fresh", None)
    assert (other["run_id"], other["parameters"]) == ("other", {"lr": "NaN"})
    assert list(fresh) == list(done)
    assert done == {
        "run_id": "done",
        "status": "SUCCESS",
        "killed": False,
        "message": "",
        "tag": "nightly",
        "start_time": "2024-01-09 05:44:42.841295",
        "end_time": "2024-01-09 06:46:45.841295",
        "duration": "1:02:03",
        "observations": 3,
        "parameters": {},
    }


def test_ls_without_a_daemon_says_what_to_start(home: Path, capsys: Any) -> None:
    """What was tracked is listed all the same."""
    _spool(home, b"", "fresh")
    assert main(["ls"]) == 0

    captured = capsys.readouterr()
    assert captured.out.splitlines()[1] == "fresh  not folded yet"
    assert "start `steplogd run`" in captured.err


# show


def test_show_summarises_a_run(folded: sqlite3.Connection, capsys: Any) -> None:
    """Status, times, parameters, and a table of each task's series; safe for a terminal."""
    folded.execute("""UPDATE run SET parameters = '{"lr":0.1}', lost = 2""")
    assert main(["show", "done"]) == 0

    assert capsys.readouterr().out.splitlines() == [
        "run           done",
        "status        SUCCESS",
        "tag           nightly",
        "started       2024-01-09 05:44:42.841295",
        "ended         2024-01-09 06:46:45.841295",
        "duration      1:02:03",
        "observations  3",
        "parameters    lr=0.1",
        "lost          2 calls that could not be recorded",
        "",
        "task train  SUCCESS, 2 attempts",
        "  ATTEMPT  STATUS   STARTED              DURATION        MESSAGE",
        "  1        SUCCESS  2024-01-09 05:44:42  0:00:00.008643",
        "  2        SUCCESS  2024-01-09 05:44:42  0:00:00.008643",
        "",
        "  KEY   COUNT  LAST STEP  LAST VALUE     MIN   MAX  ATTEMPTS",
        "  loss  2      2          0.25           0.25  0.5  1",
        '  note  1      0          "hot\\x1b[31m"  -     -    1',
    ]


def test_show_json_is_the_document(
    folded: sqlite3.Connection, home: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """The same text that the daemon writes beside it."""
    from steplog.run_log import write_run_log

    pieces: list[str] = []
    write_run_log(home, "done", pieces.append)
    assert main(["show", "done", "--json"]) == 0

    out = capsys.readouterr().out
    assert out == "".join(pieces)
    metrics = json.loads(out)["steps"]["train"]["user_defined_metrics"]
    assert metrics == {"loss": {"1": 0.5, "2": 0.25}, "note": "hot\x1b[31m"}


def test_show_says_what_is_wrong_with_the_store(
    folded: sqlite3.Connection, capsys: pytest.CaptureFixture[str]
) -> None:
    """An unknown run, and a store of another version, are sentences."""
    assert main(["show", "unknown"]) == 1
    assert "no run unknown" in capsys.readouterr().err

    folded.execute("PRAGMA user_version = 7")
    assert main(["show", "done"]) == 1
    assert "version 7" in capsys.readouterr().err
