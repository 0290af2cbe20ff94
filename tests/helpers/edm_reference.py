"""EDM's DDPM++ from its description, in plain functions on a state dict, to test files of users.

Written from Karras et al. 2022 (appendix F.1, table 7) and the names of its weights. Resampling is
a filter of four pixels, as a convolution of stride 2 and its transpose; attention has one head,
and every sum of two branches is divided by the root of two.
"""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn import functional


class Reference:
    """The network of a state dict.

    Args:
        state: under EDM's names.
        width: channels of the embedding of noise.
    """

    def __init__(self, state: dict[str, Tensor], width: int) -> None:
        self.state, self.width = state, width

    def layers(self, part: str) -> list[str]:
        """Names of the layers of "enc" or "dec" in their order."""
        return list(dict.fromkeys(n.split(".")[1] for n in self.state if n.startswith(part)))

    def __call__(self, x: Tensor, noise: Tensor) -> Tensor:
        """F of images (B, C, H, W) at c_noise (B,)."""
        powers = torch.arange(self.width // 2, dtype=torch.float64) / (self.width // 2 - 1)
        angles = torch.outer(noise.double(), 1e-4**powers).float()
        emb = torch.cat([angles.sin(), angles.cos()], 1)
        for layer in ("map_layer0", "map_layer1"):
            emb = functional.silu(
                emb @ self.state[f"{layer}.weight"].T + self.state[f"{layer}.bias"]
            )
        skips = []
        for name in self.layers("enc"):
            layer = f"enc.{name}"
            x = self.conv(layer, x) if name.endswith("conv") else self.block(layer, x, emb)
            skips.append(x)
        for name in self.layers("dec"):
            layer = f"dec.{name}"
            if name.endswith("aux_norm"):
                x = functional.silu(self.norm(layer, x))
            elif name.endswith("aux_conv"):
                x = self.conv(layer, x)
            else:
                if "block" in name:
                    x = torch.cat([x, skips.pop()], 1)
                x = self.block(layer, x, emb)
        assert not skips
        return x

    def norm(self, layer: str, x: Tensor) -> Tensor:
        """Group norm, of at least four channels a group."""
        weight, bias = self.state[f"{layer}.weight"], self.state[f"{layer}.bias"]
        groups = x.unflatten(1, (min(32, x.shape[1] // 4), -1))
        mean = groups.mean((2, 3, 4), keepdim=True)
        power = groups.var((2, 3, 4), keepdim=True, unbiased=False)
        normal = ((groups - mean) / (power + 1e-6).sqrt()).flatten(1, 2)
        return normal * weight[:, None, None] + bias[:, None, None]

    def conv(self, layer: str, x: Tensor, change: str = "") -> Tensor:
        """A convolution behind a change of resolution."""
        if change:
            filters = self.state[f"{layer}.resample_filter"].tile(x.shape[1], 1, 1, 1)
            if change == "up":
                x = functional.conv_transpose2d(x, 4 * filters, groups=x.shape[1], stride=2)
            else:
                x = functional.conv2d(x, filters, groups=x.shape[1], stride=2)
        weight = self.state[f"{layer}.weight"]
        pad = weight.shape[-1] // 2
        return functional.conv2d(x, weight, self.state[f"{layer}.bias"], padding=pad)

    def block(self, layer: str, x: Tensor, emb: Tensor) -> Tensor:
        """A residual block, with attention where there are weights for it."""
        kind = layer.rpartition("_")[2]
        change = kind if kind in ("up", "down") else ""
        h = self.conv(f"{layer}.conv0", functional.silu(self.norm(f"{layer}.norm0", x)), change)
        weight, bias = self.state[f"{layer}.affine.weight"], self.state[f"{layer}.affine.bias"]
        h = h + (emb @ weight.T + bias)[:, :, None, None]
        h = self.conv(f"{layer}.conv1", functional.silu(self.norm(f"{layer}.norm1", h)))
        if f"{layer}.skip.weight" in self.state:
            x = self.conv(f"{layer}.skip", x, change)
        x = (h + x) / 2**0.5
        if f"{layer}.qkv.weight" not in self.state:
            return x
        rows = self.conv(f"{layer}.qkv", self.norm(f"{layer}.norm2", x)).flatten(2)
        # A channel has its q, k and v beside each other.
        q, k, v = rows[:, 0::3], rows[:, 1::3], rows[:, 2::3]
        share = (torch.einsum("bcq,bck->bqk", q, k) / q.shape[1] ** 0.5).softmax(2)
        attended = torch.einsum("bqk,bck->bcq", share, v).view(x.shape)
        return (self.conv(f"{layer}.proj", attended) + x) / 2**0.5
