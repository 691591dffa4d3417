"""Fuzzes decode, fold and store: `python -m tests.fuzz.decode_and_fold [OPTION…] [FOLDER…]`.

Needs atheris. Takes the options of libFuzzer: `-max_total_time=60`, `-runs=0`, … New inputs that
reach new code are written into the first folder. An input that breaks something is written to
`crash-…`; give that file as an argument to see it again.
"""

from __future__ import annotations

import sys
from typing import Final

import atheris

_PACKAGES: Final = ["steplog", "steplogd"]

with atheris.instrument_imports(include=_PACKAGES):
    from tests.fuzz.oracle import check


def main() -> None:
    """Fuzz for as long as the options say."""
    atheris.Setup(sys.argv, check)
    atheris.Fuzz()


if __name__ == "__main__":
    main()
