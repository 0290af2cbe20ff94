"""Loaders of checkpoints: from a card to a `Denoiser`."""
