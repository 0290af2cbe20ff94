"""Measurements: data sets, features, metrics and probes."""
