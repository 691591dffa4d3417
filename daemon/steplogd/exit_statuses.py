"""What the daemon's commands exit with, by sysexits.h; units and scripts go by these numbers."""

from __future__ import annotations

from typing import Final

EXIT_HELD: Final = 73
"""EX_CANTCREAT: another daemon holds the home."""

EXIT_LATER: Final = 75
"""EX_TEMPFAIL: try again later; some backend is still behind."""

EXIT_CONFIG: Final = 78
"""EX_CONFIG: the configuration is wrong; systemd is told not to restart after it."""
