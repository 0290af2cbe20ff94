"""From a card to samples: sources of checkpoints, networks, samplers and training."""
