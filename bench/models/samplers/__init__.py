"""Samplers: from noise to images along the noise levels of a network."""
