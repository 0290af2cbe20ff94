"""Figures of a run, of its probes and of the history of runs."""
