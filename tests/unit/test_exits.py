"""What an exception that leaves a block says of the block."""

from __future__ import annotations

import pytest

from steplog.exits import MAX_MESSAGE_CHARACTERS, outcome_of


class Broken(Exception):
    """An error whose text is broken."""

    def __str__(self) -> str:
        raise ValueError


@pytest.mark.parametrize(
    ("error", "outcome"),
    [
        (None, ("SUCCESS", "")),
        (SystemExit(), ("SUCCESS", "")),
        (SystemExit(0), ("SUCCESS", "")),
        (SystemExit(3), ("FAIL", "exit status 3")),
        (SystemExit("no data"), ("FAIL", "exit status no data")),
        (GeneratorExit(), ("SUCCESS", "")),
        (ValueError("bad"), ("FAIL", "ValueError: bad")),
        (KeyboardInterrupt(), ("FAIL", "KeyboardInterrupt")),
        (Broken(), ("FAIL", "Broken")),
    ],
    ids=lambda value: type(value).__name__,
)
def test_exception_is_an_outcome(error: BaseException | None, outcome: tuple[str, str]) -> None:
    """An exit with 0 and a closed generator are success; all else is a failure with its reason."""
    assert outcome_of(error) == outcome


def test_endless_message_is_cut() -> None:
    """However long an error's text is, the line that tells of it can be written."""
    _, message = outcome_of(ValueError("x" * 1_000_000))

    assert len(message) == MAX_MESSAGE_CHARACTERS
