"""What the weights of a layer may become where each output channel has a step."""

import torch

from bench.quant.methods.rounded import Grid


def grid(steps, bits):
    """Whole numbers of steps (C_out,) of so many bits."""
    half = 2 ** (bits - 1)
    return Grid(steps[:, None], torch.tensor([[-half]]), torch.tensor([[half - 1]]))
