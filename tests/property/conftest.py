"""What property tests share: no example fails for having taken long on a busy machine."""

from __future__ import annotations

from hypothesis import settings

settings.register_profile("steplog", deadline=None)
settings.load_profile("steplog")
