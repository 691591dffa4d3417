"""Texts without the credentials in their URLs, as they may stand in a log."""

from __future__ import annotations

import base64
from collections import deque

import pytest

from steplogd.delivery import secrets
from steplogd.delivery.contract import Unavailable
from steplogd.delivery.secrets import without_secrets


@pytest.mark.parametrize(
    ("text", "plain"),
    [
        ("https://user:s3cr3t@host:8080/api refused", "https://host:8080/api refused"),
        ("postgresql+psycopg://u:p%40w@db/mlflow", "postgresql+psycopg://db/mlflow"),
        ("url: /api?token=s3cr3t&run=1 (Caused by x)", "url: /api?token=…&run=1 (Caused by x)"),
        ("http://h/?x=1&api_key=s3cr3t'", "http://h/?x=1&api_key=…'"),
        ("server_url = 'user:s3cr3t@host'", "server_url = 'host'"),
        ("mail to me@example.org at 12:30", "mail to me@example.org at 12:30"),
        ("sqlite:////home/a@b/mlflow.db", "sqlite:////home/a@b/mlflow.db"),
    ],
)
def test_no_url_keeps_its_credentials(text: str, plain: str) -> None:
    """And whatever is none stays as it is."""
    assert plain == without_secrets(text)


def test_what_a_backend_raises_holds_no_credentials() -> None:
    """It goes into the log, the store, and the status."""
    error = Unavailable("no answer from http://user:s3cr3t@host/")

    assert str(error) == "no answer from http://host/"


def test_what_the_environment_names_as_secret_is_masked(monkeypatch: pytest.MonkeyPatch) -> None:
    """Plain, as in a URL, and as in a header; a place where one lies is told."""
    monkeypatch.setenv("MLFLOW_TRACKING_USERNAME", "somebody")
    monkeypatch.setenv("MLFLOW_TRACKING_PASSWORD", "p4ss/w@rd")
    monkeypatch.setenv("WANDB_IDENTITY_TOKEN_FILE", "/run/token")
    header = base64.b64encode(b"somebody:p4ss/w@rd").decode()
    text = f"p4ss/w@rd p4ss%2Fw%40rd Basic {header} somebody /run/token"

    assert without_secrets(text) == "… … Basic … somebody /run/token"


def test_what_a_configured_url_holds_is_masked_elsewhere_too(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """A tracker may quote it by itself."""
    monkeypatch.setattr(secrets, "_known", set())
    secrets.keep_secret("postgresql://us3r:p%40ss@h/db?password=0ther&mode=plain")

    assert without_secrets("p@ss p%40ss 0ther plain") == "… … … plain"


@pytest.mark.parametrize("user", ["mlflow", "mlflow:pw-1234"])
def test_name_of_a_user_is_no_secret(monkeypatch: pytest.MonkeyPatch, user: str) -> None:
    """It is a word as others: of a backend, say, or in a run's id, which would not be found."""
    monkeypatch.setattr(secrets, "_known", set())
    monkeypatch.setenv("MLFLOW_TRACKING_USERNAME", "sweep")
    secrets.keep_secret(f"postgresql://{user}@db/mlflow")

    assert without_secrets(f"mlflow-sweep-7: x://{user}@db") == "mlflow-sweep-7: x://db"


def test_token_in_place_of_a_user_is_masked_elsewhere_too(monkeypatch: pytest.MonkeyPatch) -> None:
    """Some servers take it there, without a password."""
    monkeypatch.setattr(secrets, "_known", set())
    secrets.keep_secret("https://t0ken@host/")

    assert without_secrets("no user t0ken") == "no user …"


@pytest.mark.parametrize(
    ("url", "plain"),
    [
        ("http://u:p@h:1/x?token=t&a=b", "http://h:1/x?a=b"),
        ("http://h/?api_key=t", "http://h/"),
        ("sqlite:////home/a@b/mlflow.db", "sqlite:////home/a@b/mlflow.db"),
    ],
)
def test_url_for_somebody_else_has_no_credentials(url: str, plain: str) -> None:
    """And leads to the same place."""
    assert plain == secrets.without_credentials(url)


@pytest.mark.parametrize("word", ["x", "?key", "a:", "://a@", "key", "a@"])
def test_megabytes_are_masked_in_no_time(word: str) -> None:
    """A tracker may answer with them: that took a time that grew as their square, hours here."""
    text = f"?{word * 300_000}"

    assert len(without_secrets(f"{text} http://me:pw-1234@h/")) <= len(text) + len(" http://h/")


def test_colons_before_a_user_are_no_part_of_a_host() -> None:
    """What stands in front of credentials goes with them."""
    assert without_secrets("at :me:pw@host:80") == "at host:80"


def test_secret_that_changes_for_ever_takes_no_more_room(monkeypatch: pytest.MonkeyPatch) -> None:
    """Those of late are known, and one that stays is known anew whenever it is read."""
    monkeypatch.setattr(secrets, "_words", deque(maxlen=3))
    for number in range(10):
        secrets.keep_word("one that stays")
        secrets.keep_word(f"t0ken-{number}")

    assert len(secrets._words) == 3
    assert without_secrets("t0ken-9, one that stays") == "…, …"
