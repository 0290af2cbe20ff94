"""Probes: why a checkpoint loses what it loses."""
