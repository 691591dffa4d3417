"""The words of a command without what is plainly secret."""

from __future__ import annotations

import pytest

from steplog.command_words import is_secret, without_secrets
from steplog.what_runs import of_command


@pytest.mark.parametrize(
    ("words", "told"),
    [
        (["train.py", "--password=x y"], ["train.py", "--password=…"]),
        (["--api-token", "x", "y"], ["--api-token", "…", "y"]),
        (["--token", "--verbose"], ["--token", "--verbose"]),
        (["env", "WANDB_API_KEY=x", "python"], ["env", "WANDB_API_KEY=…", "python"]),
        (["--db", "postgresql://u:p@host/x"], ["--db", "postgresql://host/x"]),
        (["--db", "https://u:p@ss@host/x"], ["--db", "https://host/x"]),
        (["-key", "x"], ["-key", "…"]),
        (["--keys=3", "--tokenizer", "bpe"], ["--keys=3", "--tokenizer", "bpe"]),
        (["--monkey=1", "lr=0.1", "max_tokens=5"], ["--monkey=1", "lr=0.1", "max_tokens=5"]),
    ],
)
def test_what_follows_the_name_of_a_secret_is_masked(words: list[str], told: list[str]) -> None:
    """And nothing else."""
    assert told == list(without_secrets(words))
    assert told == of_command(words)["command"]


def test_variables_with_the_name_of_a_secret_are_masked(monkeypatch: pytest.MonkeyPatch) -> None:
    """Their names are told."""
    monkeypatch.setenv("STEPLOG_VAR_DB_PASSWORD", "x")
    monkeypatch.setenv("STEPLOG_VAR_EPOCHS", "3")
    variables = of_command([])["variables"]

    assert (variables["DB_PASSWORD"], variables["EPOCHS"]) == ("…", "3")
    assert is_secret("api_key")
    assert not is_secret("monkey")
