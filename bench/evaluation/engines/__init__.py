"""Engines: where the work over cells runs."""
