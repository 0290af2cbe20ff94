"""Backends: what executes a quantized network."""
