"""Metrics of the daemon itself, for Prometheus; imported only where they are asked for."""
