"""The key for W&B from a file, as a service manager or an administrator lays it down."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from steplogd.delivery.contract import Unavailable
from steplogd.delivery.secrets import keep_word

if TYPE_CHECKING:
    from pathlib import Path

_MAX_BYTES: Final = 4096


def key_in(file: Path | None) -> dict[str, str]:
    """Return the variable by which W&B gets the key that a file holds now; none without a file.

    Raises:
        Unavailable: It cannot be read, or holds no key.
    """
    if file is None:
        return {}
    try:
        with file.open("rb") as opened:
            key = opened.read(_MAX_BYTES).decode("ascii").strip()
    except (OSError, ValueError) as error:
        reason = getattr(error, "strerror", None) or "it holds more than a key"
        raise Unavailable(f"the key_file {file} cannot be read: {reason}") from None
    if not key.isprintable() or not key or " " in key:
        raise Unavailable(f"the key_file {file} holds no key: one line, without spaces")
    keep_word(key)
    return {"WANDB_API_KEY": key}
