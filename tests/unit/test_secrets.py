"""Texts without the credentials in their URLs, as they may stand in a log."""

from __future__ import annotations

import pytest

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
