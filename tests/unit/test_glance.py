"""How the daemon is, in one sentence."""

from __future__ import annotations

from pathlib import Path

import pytest

from steplogd.glance import BackendGlance, Glance, in_words, size_in_words

HOME = Path("/var/lib/steplog")


def test_what_is_to_do_is_told() -> None:
    """By backend, and what is in the way."""
    backends = [BackendGlance("mlflow", 1200), BackendGlance("wandb", 0)]

    assert in_words(HOME, Glance(3, 1_234_567, backends, ["so: why"])) == (
        "serving /var/lib/steplog: 3 runs open, 1.2 MB to fold; "
        "mlflow 1,200 observations behind, wandb ok; so: why"
    )


def test_backend_that_takes_nothing_says_why() -> None:
    """Also where nothing is owed to it but that a run has ended."""
    backends = [BackendGlance("a", 1, "refused"), BackendGlance("b", 0, "gone")]

    assert in_words(HOME, Glance(1, 0, backends, [])) == (
        "serving /var/lib/steplog: 1 run open, all folded; "
        "a 1 observation behind (refused), b 0 observations behind (gone)"
    )


def test_what_is_not_known_is_not_made_up() -> None:
    """A backend that nobody has asked for is not ok."""
    assert in_words(HOME, Glance(0, 0, [BackendGlance("a", None)], [])) == (
        "serving /var/lib/steplog: 0 runs open, all folded; a not looked at yet"
    )


def test_long_reasons_are_cut() -> None:
    """There may be many backends."""
    backends = [BackendGlance(f"b{number}", 1, "why " * 1000) for number in range(3)]

    words = in_words(HOME, Glance(0, 0, backends, ["trouble " * 1000]))

    assert all(f"b{number} 1 observation behind (why why" in words for number in range(3))
    assert len(words) < 1000


@pytest.mark.parametrize(
    ("size_bytes", "words"),
    [
        (0, "0 bytes"),
        (999, "999 bytes"),
        (1000, "1.0 kB"),
        (999_949, "999.9 kB"),
        (999_950, "1.0 MB"),
        (1_234_567_890, "1.2 GB"),
        (10**16, "10000.0 TB"),
    ],
)
def test_sizes_are_for_people(size_bytes: int, words: str) -> None:
    """With one digit, and the unit that fits."""
    assert size_in_words(size_bytes) == words
