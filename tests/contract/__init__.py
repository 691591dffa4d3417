"""What every backend does."""
