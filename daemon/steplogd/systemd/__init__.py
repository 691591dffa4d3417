"""Systemd, or whoever else supervises the daemon by its protocol: what it is told of us."""
