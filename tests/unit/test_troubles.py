"""Troubles: told when they begin and change, and once when they are mended."""

from __future__ import annotations

from structlog.testing import capture_logs

from steplogd.troubles import MENDED, Troubles


def test_a_trouble_is_told_once_for_each_reason() -> None:
    """However often it is met; and it is known until it is mended, which is told once, too."""
    troubles = Troubles()
    with capture_logs() as said:
        for reason in ("full", "full", "broken", "broken"):
            troubles.say("spools are not folded", reason)
        known = troubles.now()
        for _ in range(2):
            troubles.mended("spools are not folded")

    told = [(one["event"], one.get("reason"), one["log_level"]) for one in said]
    assert told == [
        ("spools are not folded, trying again", "full", "error"),
        ("spools are not folded, trying again", "broken", "error"),
        (MENDED, None, "info"),
    ]
    assert known == ["spools are not folded: broken"]
    assert troubles.now() == []


def test_one_trouble_is_mended_and_another_stays() -> None:
    """Each by itself, and one that is no error as loud as a warning."""
    troubles = Troubles()
    with capture_logs() as said:
        troubles.say("a", "full")
        troubles.say("b", "away", is_error=False)
        troubles.mended("a")
        troubles.mended("c")

    assert [one["log_level"] for one in said] == ["error", "warning", "info"]
    assert troubles.now() == ["b: away"]


class Changing(str):
    """A reason; another trouble begins while it is read."""

    troubles: Troubles

    def __format__(self, _: str) -> str:
        """Return it, after the other trouble has begun."""
        self.troubles.say("spools cannot be listed", "no such folder")
        return "full"


def test_troubles_are_read_while_they_change() -> None:
    """By the thread that gives out metrics, at any instruction of the loop."""
    troubles, reason = Troubles(), Changing("full")
    reason.troubles = troubles
    troubles.say("spools are not folded", reason)

    assert troubles.now() == ["spools are not folded: full"]
