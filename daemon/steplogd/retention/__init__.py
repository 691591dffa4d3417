"""Retention: finished runs' spools are archived, compressed or removed, and nothing is lost."""
