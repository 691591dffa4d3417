"""How long an MLflow server asks us to wait, in each way that it may say so."""

from __future__ import annotations

import pytest

from steplogd.delivery.mlflow_answers import MAX_RETRY_AFTER_SECONDS, retry_after_seconds

NOW = 1_795_449_600.0  # Mon, 23 Nov 2026 16:00:00 GMT


@pytest.mark.parametrize(
    ("header", "expected"),
    [
        ("7", 7),
        (" 0 ", 0),
        ("Mon, 23 Nov 2026 16:00:09 GMT", 9),
        ("Mon, 23 Nov 2026 15:59:00 GMT", 0),
        ("Mon, 23 Nov 2099 16:00:00 GMT", MAX_RETRY_AFTER_SECONDS),
        ("9" * 400, MAX_RETRY_AFTER_SECONDS),
        ("-1", None),
        ("1e9", None),
        ("soon", None),
        ("", None),
        (None, None),
    ],
)
def test_a_server_says_when_to_come_back(header: str | None, expected: float | None) -> None:
    """In seconds or as a date; nonsense counts as nothing, and nobody is waited for for ever."""
    assert expected == retry_after_seconds(header, NOW)
