"""The token of an MLflow server: from its file at any time, and shown to nobody."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

import pytest

from steplogd.delivery.contract import Unavailable
from steplogd.delivery.mlflow_errors import MAX_REASON
from steplogd.delivery.secrets import without_secrets
from tests.behind_proxy import arrived, connect
from tests.contract.trackers import MlflowStore, make_batch, make_run
from tests.torture.proxy import ANSWERS, Proxy, page

if TYPE_CHECKING:
    from pathlib import Path

NUMBERS = make_batch([0.5, 1.5, 2.5])
OUTDATED = "outdated-secret." * 8
QUOTING = "401 that quotes the token"


def quote(said: str, kind: str) -> bytes:
    """Return what MLflow, or a proxy, may answer to a wrong token."""
    said = f"{said}Bearer {OUTDATED}"
    own = json.dumps({"error_code": "UNAUTHENTICATED", "message": said})
    return page("401 Unauthorized", own if kind == "application/json" else said, kind=kind)


@pytest.mark.parametrize("kind", ["application/json", "text/html"])
@pytest.mark.parametrize("said", ["bad token: ", "x" * 150, "x" * (MAX_REASON - 80)])
def test_a_token_that_changes_is_taken_up(
    proxy: Proxy,
    mlflow_server: MlflowStore,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    said: str,
    kind: str,
) -> None:
    """From its file, without a restart; and the old one is shown to nobody, no part of it."""
    monkeypatch.setitem(ANSWERS, QUOTING, lambda: quote(said, kind))
    file = tmp_path / "token"
    file.write_text(f"{OUTDATED}\n")
    proxy.choose = lambda asked: None if b"Bearer current" in asked.content else QUOTING
    backend, run = connect(proxy, tmp_path, token_file=str(file)), make_run()

    with pytest.raises(Unavailable, match=r"MLflow refuses us: .* token_file") as told:
        backend.open(run)
    file.write_text("current\n")
    backend.open(run).send(NUMBERS)

    assert "outdated" not in str(told.value)
    assert "outdated" not in without_secrets(f"what anybody says: {OUTDATED}")
    assert arrived(mlflow_server, run, NUMBERS)


@pytest.mark.parametrize("content", [None, b"", b"two words", b"\xff\xfe"])
def test_a_token_file_that_holds_none_is_waited_for(
    proxy: Proxy, tmp_path: Path, content: bytes | None
) -> None:
    """The reason names the file, and what is in it stays there."""
    file = tmp_path / "token"
    if content is not None:
        file.write_bytes(content)
    backend = connect(proxy, tmp_path, token_file=str(file))

    with pytest.raises(Unavailable, match=f"the token_file {file}"):
        backend.open(make_run())


def test_a_backend_that_is_built_and_not_used_changes_no_token(
    proxy: Proxy, mlflow_server: MlflowStore, tmp_path: Path
) -> None:
    """The configuration that names it may be refused for something else."""
    token, other = tmp_path / "token", tmp_path / "other"
    token.write_text("current")
    other.write_text("another")
    proxy.choose = lambda asked: None if b"Bearer current" in asked.content else "401"
    backend, run = connect(proxy, tmp_path, token_file=str(token)), make_run()
    session = backend.open(run)

    connect(proxy, tmp_path, token_file=str(other))
    session.send(NUMBERS)

    assert arrived(mlflow_server, run, NUMBERS)
