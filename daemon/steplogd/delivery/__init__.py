"""Delivery: the contract for backends, the exporter that feeds one, and a file for each tracker."""
