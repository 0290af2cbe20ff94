"""Training of reference checkpoints: the loop, SAM, weight averages, and named recipes."""
