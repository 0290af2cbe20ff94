"""Prompted pipelines of diffusers: their folder, their prompts, and the network in their loop."""
