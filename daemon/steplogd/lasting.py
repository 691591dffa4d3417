"""Tells what fails as long as nobody changes anything from what may work in a moment."""

from __future__ import annotations

import errno
from typing import Final

_LASTING: Final = frozenset((errno.EACCES, errno.EPERM, errno.ENOTDIR, errno.EEXIST, errno.ELOOP))
"""Rights, and what stands in the way: a disk gets over neither."""

_MISTAKES: Final = (ValueError, TypeError, SystemExit)
"""What a backend raises that does not like its options; all else may be its machine's trouble."""


def is_lasting(error: BaseException) -> bool:
    """Tell whether a person has to mend something before it can work."""
    if isinstance(error, OSError):
        return error.errno in _LASTING
    return isinstance(error, _MISTAKES)
