"""Data sets by name: each module offers `load(split) -> uint8 images (N, C, H, W)`."""
