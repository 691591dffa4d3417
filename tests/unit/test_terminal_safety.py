"""Nothing that comes from outside reaches a terminal so that it could steer it."""

from __future__ import annotations

import json
import os
import pty
import subprocess
import sys
from typing import TYPE_CHECKING, Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from steplog.cli import main
from steplog.cli.event_text import describe
from steplog.cli.terminal import sanitise
from steplog.decoding import decode
from steplog.execution.log import log_name
from steplogd import __main__ as steplogd
from steplogd.commands import dead_letters, drain, status, verify
from steplogd.commands.delivering import what_is_behind
from steplogd.remaining import Remaining
from steplogd.store.cursors import Backlog
from steplogd.store.letters import Letter
from steplogd.verdict import Difference, Verdict
from tests.conftest import DEADLINE_SECONDS
from tests.lines import append
from tests.stores import Store

if TYPE_CHECKING:
    from pathlib import Path

HOSTILE = {
    "colour": "\x1b[31m",
    "clear": "\x1b[2J\x1b[H",
    "title": "\x1b]0;owned\x07",
    "link": "\x1b]8;;http://evil.example/\x1b\\click\x1b]8;;\x1b\\",
    "clipboard": "\x1b]52;c;cm0gLXJmIH4K\x07",
    "device": "\x1bP$q\x1b\\",
    "over": "good\rbad",
    "bell": "\a",
    "backspace": "bad\b\b\bgood",
    "C1": "\u009b31m\u009d52;c;x\u009c",
    "bidi": "\u202egnp.exe\u2066\u2069\u200f",
    "line": "one\nsteplog: all is well",
    "separators": "a\u2028b\u2029c\x85d\x0bd\x0ce",
    "NUL": "a\0b",
    "DEL": "a\x7fb",
    "surrogate": "a\udc9bb",
    "markup": "[link=http://evil.example/]x[/link][bold]",
}
hostile = pytest.mark.parametrize("text", HOSTILE.values(), ids=list(HOSTILE))


def is_plain(said: str) -> bool:
    """Tell whether a terminal would show all of it, and do nothing else."""
    return all(character.isprintable() or character == "\n" for character in said)


@pytest.fixture(autouse=True)
def own_home(home: Path) -> Path:
    """Give each test a home of its own."""
    home.mkdir()
    return home


@given(st.text(st.characters()))
def test_whatever_is_sanitised_is_printable(text: str) -> None:
    """Of all characters that there are, and it is one line."""
    assert sanitise(text).isprintable()
    assert text.isprintable() == (sanitise(text) == text)


@given(st.binary())
def test_every_line_of_a_spool_is_shown_plainly(line: bytes) -> None:
    """Be it an event or not."""
    assert all(describe(event).isprintable() for event in decode(line + b"\n"))


@given(st.text(min_size=1), st.text())
def test_events_of_any_text_are_shown_plainly(text: str, other: str) -> None:
    """In all fields that hold a text."""
    events: list[dict[str, Any]] = [
        {"t": "track", "task": [text, other], "values": {text: other, other: [{text: other}]}},
        {"t": "start", "task": text, "step_type": other, "parameters": {text: other}},
        {"t": "end", "task": text, "status": "FAIL", "message": other},
        {"t": "join", "tag": text, "parameters": {other: text}, "config": {text: other}},
        {"t": "open", "w": text, "n": 0, "format": 1, "pid": 1, "host": other},
        {"t": "catalog", "task": text, "name": other, "data_hash": text, "stage": other},
        {"t": "code", "code_identifier": text, "code_identifier_type": other},
        {"t": "lost", "count": 1, "reason": text},
        {"t": text, "values": other},
    ]
    for event in events:
        line = json.dumps(event, separators=(",", ":")).encode() + b"\n"
        assert all(describe(one).isprintable() for one in decode(line))


@given(st.text(), st.text())
def test_log_of_a_task_has_a_plain_name_in_its_folder(name: str, other: str) -> None:
    """Whatever the task is called: one file, no other folder, nothing hidden."""
    found = log_name((name, other))

    assert found.isprintable()
    assert "/" not in found
    assert not found.startswith(".")
    assert len(os.fsencode(found)) <= 255


@hostile
@pytest.mark.parametrize(
    "words",
    [
        ["show", "{}"],
        ["show", "r", "--attempt", "{}"],
        ["tail", "{}", "--no-follow"],
        ["tail", "-n", "{}"],
        ["ls", "--status", "{}"],
        ["ls", "--since", "{}"],
        ["ls", "--limit", "{}"],
        ["compare", "r", "{}"],
        ["track", "{}"],
        ["track", "--run-id", "{}", "x=1"],
        ["track", "--step", "{}", "x=1"],
        ["import", "{}"],
        ["{}"],
        ["ls", "{}"],
    ],
    ids=" ".join,
)
def test_arguments_are_echoed_plainly(text: str, words: list[str], capsys: Any) -> None:
    """In the sentence that refuses them."""
    if words[0] == "import" and "\0" in text:
        pytest.skip("no argument of a process holds a NUL")
    assert main([word.format(text) for word in words]) != 0

    said = capsys.readouterr()
    assert said.out + said.err
    assert is_plain(said.out + said.err)


@hostile
@pytest.mark.parametrize("variable", ["STEPLOG_RUN_ID", "STEPLOG_HOME"])
def test_the_environment_is_echoed_plainly(
    text: str, variable: str, monkeypatch: pytest.MonkeyPatch, tmp_path: Path, capsys: Any
) -> None:
    """A run, or a folder that is not there."""
    if "\0" in text:
        pytest.skip("no variable holds a NUL")
    monkeypatch.setenv(variable, text if variable == "STEPLOG_RUN_ID" else f"{tmp_path}/{text}")
    for words in (["track", "x=1"], ["tail", "r", "--no-follow"], ["show", "r"], ["ls"]):
        main(words)

    said = capsys.readouterr()
    assert is_plain(said.out + said.err)


@hostile
def test_run_log_is_shown_plainly(text: str, home: Path, capsys: Any) -> None:
    """By `show`, `ls` and `compare`, in text and as JSON, whatever stands in it."""
    kept = text.encode("utf-8", "replace").decode()
    store = Store(home)
    named = json.dumps({kept: kept})
    for run_no, run_id in enumerate(("one", "two"), 1):
        store.run(run_id, run_no, tag=kept, message=kept, status="FAIL", parameters=named)
        store.task(kept, "inner", run_no=run_no)
        store.observe(kept, f"{kept}{run_no}", run_no=run_no)
    store.attempt(message=kept)
    store.attempt(number=2, message=kept)
    store.connection.close()
    shown = [["ls"], ["ls", "--json"], ["show", "one"], ["show", "one", "--json"]]
    shown += [["show", "one", "--attempt", "1"], ["ls", "--tag", kept]]
    for words in (*shown, ["compare", "one", "two"], ["compare", "one", "two", "--json"]):
        assert main(words) == 0

    said = capsys.readouterr()
    assert is_plain(
        (said.out + said.err).replace("\x7f", "")
    )  # which JSON lets pass, and does nothing
    assert "inner" in said.out


@hostile
def test_commands_of_the_daemon_echo_plainly(
    text: str, tmp_path: Path, capsys: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Arguments, names of files, keys and values of the configuration."""
    monkeypatch.setattr(sys, "argv", ["steplogd"])
    file = tmp_path / "steplogd.toml"
    quoted = json.dumps(text.encode("utf-8", "replace").decode())
    contents = [f"{quoted} = 1", f"home = {quoted}\nshared = 3", f"[[backend]]\ntype = {quoted}"]
    contents += [f'[[backend]]\ntype = "memory"\nname = {quoted}\n{quoted} = 1', text]
    contents += [f'[[backend]]\ntype = "mlflow"\nserver_url = {quoted}']
    for content in contents:
        file.write_text(content, encoding="utf-8", errors="replace")
        assert steplogd._run(["check", "--config", str(file)]) != 0
    for words in (["check", "--config", text], ["verify", text], ["replay", text]):
        assert steplogd._run(words) != 0
    with pytest.raises(SystemExit):
        steplogd._run(["drain", "--timeout", text])

    said = capsys.readouterr()
    assert len(said.err.splitlines()) >= 9
    assert is_plain(said.out + said.err)


@hostile
def test_what_a_tracker_said_is_shown_plainly(text: str, capsys: Any) -> None:
    """By `status`, `verify`, `dead-letters` and `drain`; and it is no markup of ours."""
    backlog = Backlog(
        backend=text, runs=1, observations=1, dead_letters=1, failing_since=1, error=text
    )
    status._print(status.Status(text, 1, 1, 1, {"SUCCESS": 1}, 1, [text], [text], 0, [backlog]))
    differs = Difference(text, "r", "metric", text, (text,), text, expected=text, reason=text)
    verify._print([Verdict(text, differences=[differs], error=text)])
    dead_letters._list([_letter(text)], as_json=False)
    left = Remaining(1, {"r": text}, 0, leaving=False, backends=[backlog])
    drain._say(left)

    said = capsys.readouterr()
    assert is_plain(said.out + said.err)
    if "bold" in text:
        assert said.out.count("[bold]") >= 4
    assert list(what_is_behind(left, {text}))


def _letter(text: str) -> Letter:
    fields: dict[str, Any] = dict.fromkeys(Letter.__struct_fields__, text)
    return Letter(
        **{**fields, "position": 1, "step": 0, "task": (text,), "refused_ts": 0, "is_due": False}
    )


def on_terminal(code: str, *arguments: str, **environment: str) -> bytes:
    """Return what a program writes to the terminal that it runs in."""
    ours, its = pty.openpty()
    process = subprocess.Popen(
        [sys.executable, "-c", code, *arguments],
        env={**os.environ, "TERM": "xterm", "NO_COLOR": "1", **environment},
        stdin=its,
        stdout=its,
        stderr=its,
    )
    os.close(its)
    written = b""
    while chunk := _read(ours):
        written += chunk
    os.close(ours)
    assert process.wait(DEADLINE_SECONDS) == 0
    return written.replace(b"\r\n", b"\n")


def _read(terminal: int) -> bytes:
    try:
        return os.read(terminal, 65536)
    except OSError:  # nobody has it any more
        return b""


_TAIL = "import sys; from steplog.cli import main; sys.exit(main())"


def _hostile_bytes() -> bytes:
    texts = "".join(HOSTILE.values()).replace("\n", "").encode("utf-8", "surrogateescape")
    return b'{"t":"track","values":{"x":"' + texts + b'"}}\n\x9b31m\xff\x1b[31m\n'


def test_raw_lines_steer_no_terminal(home: Path) -> None:
    """JSON has no control characters, but a spool may hold anything: it is written out there."""
    append(home, "r", _hostile_bytes())
    for words in (["--raw"], []):
        said = on_terminal(_TAIL, "tail", "r", "--no-follow", *words).decode()
        assert is_plain(said)
        assert "\\x1b" in said


def test_raw_lines_are_raw_for_other_programs(home: Path, capfdbinary: Any) -> None:
    """Byte for byte, where no terminal reads them."""
    append(home, "r", _hostile_bytes())
    assert main(["tail", "r", "--no-follow", "--raw"]) == 0

    assert capfdbinary.readouterr().out == _hostile_bytes()


def test_log_of_the_daemon_steers_no_terminal() -> None:
    """What a tracker said, an event, a name: all of it is written out."""
    code = """
import json, structlog, sys
from steplogd.logs.log import set_up_log
set_up_log()
for text in json.loads(sys.argv[1]):
    structlog.get_logger().warning(text, run=text, reason=text, names=[text], pair=(text,))
"""
    said = on_terminal(code, json.dumps(list(HOSTILE.values()))).decode()

    assert said.count("\\x1b[31m") >= 4
    assert is_plain(_without_colours(said))


def _without_colours(said: str) -> str:
    """Leave out the colours that structlog itself paints with."""
    import re

    return re.sub(r"\x1b\[\d*m", "", said)


def test_log_of_the_daemon_is_ascii_for_other_programs() -> None:
    """One JSON object a line."""
    code = """
import json, structlog, sys
from steplogd.logs.log import set_up_log
set_up_log()
for text in json.loads(sys.argv[1]):
    structlog.get_logger().warning(text, run=text)
"""
    ran = subprocess.run(
        [sys.executable, "-c", code, json.dumps(list(HOSTILE.values()))],
        stderr=subprocess.PIPE,
        check=True,
    )
    lines = ran.stderr.splitlines()

    assert [json.loads(line)["run"] for line in lines] == list(HOSTILE.values())
    assert all(32 <= byte < 128 for line in lines for byte in line)
