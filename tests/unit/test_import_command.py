"""`steplog import`, called in this process: what it finds, skips, refuses and leaves alone."""

from __future__ import annotations

import json
import os
import stat
from pathlib import Path
from typing import Any

import pytest

from steplog.cli import main
from steplog.importing import placing
from steplog.importing.sources import MAX_BYTES, MAX_DEPTH
from steplogd.core.fold import Fold
from steplogd.core.state import RunState
from steplogd.store.database import Database
from steplogd.store.run_logs import FoldedRun, RunLogs
from tests.bench import line_over
from tests.conftest import spools

GOOD = {"run_id": "good", "status": "SUCCESS", "steps": {}}


@pytest.fixture(autouse=True)
def own_home(home: Path) -> Path:
    """Give each test a home of its own, which nothing has made yet."""
    return home


def put(path: Path, document: Any) -> Path:
    """Write a document."""
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(document), "utf-8")
    return path


def report(capsys: pytest.CaptureFixture[str], *arguments: str) -> tuple[int, dict[str, Any]]:
    """Import; return the exit status, and what became of each run log."""
    status = main(["import", "--json", *arguments])
    found: dict[str, Any] = json.loads(capsys.readouterr().out)
    return status, found


def test_a_folder_is_searched_for_files_and_for_folders_of_pieces(
    tmp_path: Path, home: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """In hidden folders too; other JSON in it is passed over, and so are other files."""
    put(tmp_path / "logs" / "good.json", GOOD)
    put(tmp_path / "logs" / ".store" / "pieces" / "RunLog.json", {**GOOD, "run_id": "pieces"})
    put(tmp_path / "logs" / ".store" / "pieces" / "Parameter-a.json", {"a": 1})
    put(tmp_path / "logs" / "package.json", {"name": "something else"})
    put(tmp_path / "logs" / "notes.txt", GOOD)

    status, found = report(capsys, str(tmp_path / "logs"))

    assert (0, {"imported": ["pieces", "good"], "present": [], "skipped": []}) == (status, found)
    assert ["good", "pieces"] == spools(home)


def test_links_in_a_folder_are_not_followed(tmp_path: Path, home: Path) -> None:
    """Nor is the search deeper than said; what is named may be a link."""
    outside = put(tmp_path / "outside" / "good.json", GOOD)
    inside = tmp_path / "inside"
    deep = inside.joinpath(*(["x"] * MAX_DEPTH))
    put(deep / "good.json", GOOD)
    (inside / "folder").symlink_to(outside.parent)
    (inside / "file.json").symlink_to(outside)
    (inside / "pieces").mkdir()
    (inside / "pieces" / "RunLog.json").symlink_to(outside)

    found_none = main(["import", str(inside)])
    before = spools(home)
    named = main(["import", str(inside / "file.json")])

    assert (1, [], 0, ["good"]) == (found_none, before, named, spools(home))


def test_importing_again_changes_nothing(
    tmp_path: Path, home: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Also after somebody has appended to the run; other content is refused."""
    path = put(tmp_path / "good.json", GOOD)
    report(capsys, str(path))
    spool = home / "spool" / "good.jsonl"
    with spool.open("ab") as file:
        file.write(b'{"t":"track","values":{"later":1}}\n')
    before = spool.read_bytes()

    again = report(capsys, str(path), str(path))
    put(path, {**GOOD, "status": "FAIL"})
    other = report(capsys, str(path))

    assert (0, {"imported": [], "present": ["good", "good"], "skipped": []}) == again
    assert 1 == other[0]
    assert "set STEPLOG_HOME to another folder" in other[1]["skipped"][0]["reason"]
    assert before == spool.read_bytes()


def test_a_run_that_has_only_a_document_left_is_not_imported_over_it(
    tmp_path: Path, home: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Its spool may have been removed; a run of the same id would be mixed with it."""
    put(home / "runs" / "good.json", {"run_id": "good"})

    status, found = report(capsys, str(put(tmp_path / "good.json", GOOD)))

    assert (1, []) == (status, found["imported"])
    assert not (home / "spool").exists()


def test_a_run_that_has_only_its_rows_left_is_not_imported_over_them(
    tmp_path: Path, database: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The store knows runs whose spool and document were both removed."""
    folding = Fold(RunState("good"))
    RunLogs(database).commit([(FoldedRun(0, folding.state, 0), folding.take_changes())])
    monkeypatch.setenv("STEPLOG_HOME", str(database.path.parent))

    status = main(["import", str(put(tmp_path / "logs" / "good.json", GOOD))])

    assert 1 == status
    assert not (database.path.parent / "spool").exists()


def test_a_run_whose_spool_was_archived_is_present(
    tmp_path: Path, home: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Its writer is in the run log; another document of that id is told from it as ever."""
    path = put(tmp_path / "good.json", GOOD)
    report(capsys, str(path))
    database = Database(home / "steplog.db")
    line_over(home, database).run(["good"])
    database.close()
    (home / "spool" / "good.jsonl").unlink()
    capsys.readouterr()  # the log says that a run began

    again = report(capsys, str(path))
    put(path, {**GOOD, "status": "FAIL"})
    other = report(capsys, str(path))

    assert again == (0, {"imported": [], "present": ["good"], "skipped": []})
    assert (other[0], other[1]["imported"]) == (1, [])
    assert not (home / "spool" / "good.jsonl").exists()


def test_a_rehearsal_writes_nothing(
    tmp_path: Path, home: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """But it finds what is malformed, and what would come twice."""
    put(tmp_path / "a.json", GOOD)
    put(tmp_path / "b.json", {**GOOD, "tag": "other"})
    put(tmp_path / "c.json", {**GOOD, "run_id": "c", "steps": {"": {"internal_name": ""}}})

    status, found = report(capsys, "--dry-run", str(tmp_path))

    skipped = [Path(one["path"]).name for one in found["skipped"]]
    assert (1, ["good"], ["b.json", "c.json"]) == (status, found["imported"], skipped)
    assert not home.exists()


HOSTILE = {
    "torn": b'{"run_id": "x", "steps": {"a',
    "empty": b"",
    "not UTF-8": b'{"run_id": "\xff", "steps": {}}',
    "deep": b'{"run_id": "x", "steps": {}, "a": ' + b"[" * 100_000,
    "a path": b'{"run_id": "../../x", "steps": {}}',
    "a long id": b'{"run_id": "' + b"x" * 129 + b'", "steps": {}}',
    "long digits": b'{"run_id": "x", "steps": {}, "parameters": {"a": ' + b"9" * 5000 + b"}}",
    "a surrogate": b'{"run_id": "\\ud800", "steps": {}}',
    "wrong types": b'{"run_id": "x", "steps": {"a": {"internal_name": "a", "branches": [1]}}}',
    "deep parameters": b'{"run_id":"x","steps":{},"parameters":{"a":'
    + b"[" * 500
    + b"]" * 500
    + b"}}",
    "deep branches": b'{"run_id":"x","steps":{"a":'
    + b'{"internal_name":"a","branches":{"b":{"internal_name":"b","steps":{"a":' * 180
    + b'{"internal_name":"a"}'
    + b"}}}}" * 180
    + b"}}",
}


@pytest.mark.parametrize("content", HOSTILE.values(), ids=HOSTILE)
def test_a_malformed_run_log_is_named_and_nothing_of_it_is_there(
    content: bytes, tmp_path: Path, home: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """One line says why, and the good one beside it is imported."""
    bad = tmp_path / "logs" / "a bad\x1b[31m.json"
    put(tmp_path / "logs" / "good.json", GOOD)
    bad.write_bytes(content)

    status = main(["import", str(tmp_path / "logs")])

    told = capsys.readouterr()
    assert (1, "imported 1, skipped 1\n") == (status, told.out)
    assert 1 == told.err.count("\n")
    assert "a bad\\x1b[31m.json is skipped: " in told.err
    assert "Traceback" not in told.err
    assert ["good"] == spools(home)
    assert ["home", "logs"] == sorted(path.name for path in tmp_path.iterdir())


def test_what_is_too_large_is_not_read(tmp_path: Path, home: Path) -> None:
    """Nor is a FIFO waited for, nor a device read for ever."""
    large = tmp_path / "large.json"
    large.touch()
    os.truncate(large, MAX_BYTES + 1)
    os.mkfifo(tmp_path / "fifo.json")

    statuses = [main(["import", str(path)]) for path in (large, tmp_path / "fifo.json")]

    assert [1, 1, 1] == [*statuses, main(["import", "/dev/zero"])]
    assert not home.exists()


def test_a_piece_that_is_malformed_is_named(
    tmp_path: Path, home: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Nothing of its run is imported."""
    put(tmp_path / "RunLog.json", GOOD)
    (tmp_path / "StepLog-a-1.json").write_text("{")

    status, found = report(capsys, str(tmp_path / "RunLog.json"))

    assert 1 == status
    assert found["skipped"][0]["reason"].startswith("StepLog-a-1.json: it is no JSON")
    assert not home.exists()


@pytest.mark.parametrize("named", ["absent", "package.json", "."])
def test_a_path_without_a_run_log_is_told(
    named: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Nobody asks for nothing to be imported."""
    put(tmp_path / "package.json", {"name": "something else"})

    status, found = report(capsys, str(tmp_path / named))

    assert (1, 1) == (status, len(found["skipped"]))


def test_a_lone_surrogate_in_a_name_comes_through(tmp_path: Path, home: Path) -> None:
    """JSON can say one, and what was tracked is not for us to refuse."""
    step = {"internal_name": "\ud800", "status": "SUCCESS", "user_defined_metrics": {"\udfff": 1}}
    path = put(tmp_path / "good.json", {**GOOD, "tag": "\ud800", "steps": {"x": step}})

    assert 0 == main(["import", str(path)])
    assert ["good"] == spools(home)


def test_a_byte_order_mark_is_no_part_of_the_run_log(tmp_path: Path, home: Path) -> None:
    """Editors on other systems put one in front."""
    path = tmp_path / "good.json"
    path.write_bytes(b"\xef\xbb\xbf" + json.dumps(GOOD).encode())

    assert 0 == main(["import", str(path)])
    assert ["good"] == spools(home)


def test_no_depth_of_nesting_is_a_fault_of_ours(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Whichever of reading, hashing and converting gives up first."""
    for depth in range(850, 1050, 3):
        content = f'"a{depth}": {"[" * depth}{"]" * depth}'
        text = f'{{"run_id": "r{depth}", "steps": {{}}, {content}}}'
        (tmp_path / f"{depth}.json").write_text(text)

    main(["import", str(tmp_path)])

    told = capsys.readouterr()
    assert told.out.startswith("imported ")
    assert "fault" not in told.err


@pytest.mark.parametrize("flag", [os.O_TMPFILE, os.O_DIRECTORY], ids=["nameless", "named"])
def test_an_imported_spool_can_be_read_by_a_daemon_of_the_group(
    flag: int, tmp_path: Path, home: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Whatever the umask, and on a file system that knows no nameless files as well."""
    monkeypatch.setattr(placing, "_TMPFILE", flag)
    old = os.umask(0o077)
    try:
        status = main(["import", str(put(tmp_path / "good.json", GOOD))])
    finally:
        os.umask(old)

    modes = {path.name: stat.S_IMODE(path.stat().st_mode) for path in (home / "spool").iterdir()}
    assert (0, {"good.jsonl": 0o640}) == (status, modes)


@pytest.mark.usefixtures("home")
def test_an_empty_path_is_refused(capsys: pytest.CaptureFixture[str]) -> None:
    """It is a variable that is not set, and would mean all that lies here."""
    assert main(["import", ""]) == 2
    assert capsys.readouterr().err == (
        "steplog import: a path is empty: is a variable not set?; see `steplog import --help`\n"
    )
