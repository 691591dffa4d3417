"""Steplog under a real systemd, installed as a user would."""
