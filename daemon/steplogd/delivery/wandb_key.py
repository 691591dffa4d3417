"""The key for W&B from a file, as a service manager or an administrator lays it down."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from steplogd.delivery.secret_file import secret_in
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
    key = secret_in(file, "key", _MAX_BYTES)
    keep_word(key)
    return {"WANDB_API_KEY": key}
