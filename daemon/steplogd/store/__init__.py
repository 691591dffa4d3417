"""The store: run logs, checkpoints, cursors and dead letters, in one SQLite file."""
