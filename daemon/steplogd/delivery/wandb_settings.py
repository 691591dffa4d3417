"""How W&B behaves in our processes: quiet, and with nothing gathered but what is tracked."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

import wandb

if TYPE_CHECKING:
    from steplogd.delivery.wandb_frames import Place

FLUSH_SECONDS: Final = 0.05
"""How often wandb-core writes to the transaction log; 15 by default."""

INIT_SECONDS: Final = 20.0
FINISH_SECONDS: Final = 20.0
"""How long the server may take; less than the daemon's patience with the child."""

TRANSMIT_SECONDS: Final = 2.0
"""How often rows go to the server; 15 by default."""


def settings_of(place: Place) -> wandb.Settings:
    """Return the settings of a run that the daemon writes."""
    return wandb.Settings(
        mode=place.mode,  # type: ignore[arg-type]
        console="off",
        disable_code=True,
        disable_git=True,
        disable_job_creation=True,
        finish_timeout=FINISH_SECONDS,
        finish_timeout_raises=True,
        init_timeout=INIT_SECONDS,
        silent=True,
        x_disable_machine_info=True,
        x_disable_meta=True,
        x_disable_stats=True,
        x_file_stream_transmit_interval=TRANSMIT_SECONDS,
        x_save_requirements=False,
        x_transaction_log_flush_interval=FLUSH_SECONDS,
    )
