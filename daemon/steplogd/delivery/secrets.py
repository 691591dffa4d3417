"""Texts without the credentials that stand in the URLs within them."""

from __future__ import annotations

import re
from typing import Final

_USER: Final = re.compile(r"(?<=://)[^/\s'\"@]*(?:@[^/\s'\"@]*)*@")
_BARE_USER: Final = re.compile(r"[^/\s'\"@:]+:[^/\s'\"@]+@(?=[\w.-])")
_PARAMETER: Final = re.compile(
    r"(?i)([?&][\w-]*(?:token|key|password|passwd|secret|auth)[\w-]*=)[^&\s'\"]*"
)


def without_secrets(text: str) -> str:
    """Return a text in which no URL has a user, a password, or a parameter that reads like one."""
    return _PARAMETER.sub(r"\1…", _BARE_USER.sub("", _USER.sub("", text)))
