"""What a forked daemon has imported: all that MLflow brings, set up as its backend does it."""

from __future__ import annotations

from pathlib import Path

import steplogd.commands.drain
import steplogd.commands.replay
import steplogd.commands.run
import steplogd.commands.verify  # noqa: F401
from steplogd.delivery.mlflow import MlflowBackend, MlflowOptions

MlflowBackend(MlflowOptions(), Path("/nonexistent"))

# What it imports by itself when it makes or opens a database.
import alembic.command  # noqa: E402, F401
import mlflow.store.model_registry.sqlalchemy_store  # noqa: E402
import mlflow.store.tracking.sqlalchemy_store  # noqa: E402, F401
