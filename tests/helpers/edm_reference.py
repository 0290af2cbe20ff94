"""EDM's networks from their description, in plain functions on a state dict.

Written from Karras et al. 2022 (appendix F.1, table 7) and the names of the weights. Resampling is
a filter of each channel, as a convolution of stride 2 and its transpose. In `SongUNet` (DDPM++ and
NCSN++) attention has one head, and every sum of two branches is divided by the root of two; in
`DhariwalUNet` (ADM) heads have 64 channels, and the embedding scales and shifts.
"""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn import functional


class Reference:
    """The network of a state dict.

    Args:
        state: under EDM's names, the layers in their order.
        width: channels of the embedding of noise.
    """

    def __init__(self, state: dict[str, Tensor], width: int) -> None:
        self.state, self.width = state, width
        self.is_song = "out_conv.weight" not in state
        self.gain = 2**-0.5 if self.is_song else 1.0

    def layers(self, part: str) -> list[str]:
        """Names of the layers of "enc" or "dec" in their order."""
        return list(dict.fromkeys(n.split(".")[1] for n in self.state if n.startswith(part)))

    def embedding(self, noise: Tensor, label: Tensor | None) -> Tensor:
        """Of c_noise (B,) and labels in rows of ones and zeros (B, K)."""
        half = self.width // 2
        powers = torch.arange(half, dtype=torch.float64) / (half - 1 if self.is_song else half)
        waves = 1e-4**powers
        if "map_noise.freqs" in self.state:
            waves = 2 * torch.pi * self.state["map_noise.freqs"].double()
        angles = torch.outer(noise.double(), waves).float()
        first, second = (
            (angles.sin(), angles.cos()) if self.is_song else (angles.cos(), angles.sin())
        )
        emb = torch.cat([first, second], 1)
        if label is not None and self.is_song:
            scaled = label * label.shape[1] ** 0.5
            emb = emb + scaled @ self.state["map_label.weight"].T + self.state["map_label.bias"]
        emb = functional.silu(self.linear("map_layer0", emb))
        emb = self.linear("map_layer1", emb)
        if label is not None and not self.is_song:
            emb = emb + label @ self.state["map_label.weight"].T
        return functional.silu(emb)

    def linear(self, layer: str, x: Tensor) -> Tensor:
        """A linear layer."""
        return x @ self.state[f"{layer}.weight"].T + self.state[f"{layer}.bias"]

    def __call__(self, x: Tensor, noise: Tensor, label: Tensor | None = None) -> Tensor:
        """F of images (B, C, H, W) at c_noise (B,)."""
        emb = self.embedding(noise, label)
        skips, image = [], x
        for name in self.layers("enc"):
            layer = f"enc.{name}"
            if name.endswith("residual"):
                # A convolution of the image, then the filter; both need pixels around.
                pad = (self.state[f"{layer}.resample_filter"].shape[-1] - 1) // 2
                padded = functional.pad(image, (pad + 1,) * 4)
                made = self.filtered(layer, self.conv(layer, padded, padding=0), "down", 0)
                image = skips[-1] = x = (x + made) * 2**-0.5
                continue
            x = self.conv(layer, x) if name.endswith("conv") else self.block(layer, x, emb)
            skips.append(x)
        for name in self.layers("dec"):
            layer = f"dec.{name}"
            if "aux" in name:
                continue
            if "block" in name:
                x = torch.cat([x, skips.pop()], 1)
            x = self.block(layer, x, emb)
        assert not skips
        end = f"dec.{name.partition('_')[0]}_aux" if self.is_song else "out"
        return self.conv(f"{end}_conv", functional.silu(self.norm(f"{end}_norm", x)))

    def norm(self, layer: str, x: Tensor) -> Tensor:
        """Group norm, of at least four channels a group."""
        weight, bias = self.state[f"{layer}.weight"], self.state[f"{layer}.bias"]
        groups = x.unflatten(1, (min(32, x.shape[1] // 4), -1))
        mean = groups.mean((2, 3, 4), keepdim=True)
        power = groups.var((2, 3, 4), keepdim=True, unbiased=False)
        normal = ((groups - mean) / (power + (1e-6 if self.is_song else 1e-5)).sqrt()).flatten(
            1, 2
        )
        return normal * weight[:, None, None] + bias[:, None, None]

    def filtered(self, layer: str, x: Tensor, change: str, pad: int | None = None) -> Tensor:
        """Half or twice the resolution."""
        taps = self.state[f"{layer}.resample_filter"]
        pad = (taps.shape[-1] - 1) // 2 if pad is None else pad
        words = {"groups": x.shape[1], "stride": 2, "padding": pad}
        if change == "up":
            return functional.conv_transpose2d(x, 4 * taps.tile(x.shape[1], 1, 1, 1), **words)
        return functional.conv2d(x, taps.tile(x.shape[1], 1, 1, 1), **words)

    def conv(self, layer: str, x: Tensor, change: str = "", padding: int | None = None) -> Tensor:
        """A convolution behind a change of resolution; without weights the change alone."""
        x = self.filtered(layer, x, change) if change else x
        weight = self.state.get(f"{layer}.weight")
        if weight is None:
            return x
        pad = weight.shape[-1] // 2 if padding is None else padding
        return functional.conv2d(x, weight, self.state[f"{layer}.bias"], padding=pad)

    def block(self, layer: str, x: Tensor, emb: Tensor) -> Tensor:
        """A residual block, with attention where there are weights for it."""
        kind = layer.rpartition("_")[2]
        change = kind if kind in ("up", "down") else ""
        h = self.conv(f"{layer}.conv0", functional.silu(self.norm(f"{layer}.norm0", x)), change)
        moved = self.linear(f"{layer}.affine", emb)[:, :, None, None]
        if self.is_song:
            h = self.norm(f"{layer}.norm1", h + moved)
        else:
            scale, shift = moved.chunk(2, 1)
            h = self.norm(f"{layer}.norm1", h) * (1 + scale) + shift
        h = self.conv(f"{layer}.conv1", functional.silu(h))
        if f"{layer}.skip.weight" in self.state or change:
            x = self.conv(f"{layer}.skip", x, change)
        x = (h + x) * self.gain
        if f"{layer}.qkv.weight" not in self.state:
            return x
        rows = self.conv(f"{layer}.qkv", self.norm(f"{layer}.norm2", x)).flatten(2)
        heads = 1 if self.is_song else x.shape[1] // 64
        parts = []
        for head in rows.chunk(heads, 1):
            # A channel has its q, k and v beside each other.
            q, k, v = head[:, 0::3], head[:, 1::3], head[:, 2::3]
            share = (torch.einsum("bcq,bck->bqk", q, k) / q.shape[1] ** 0.5).softmax(2)
            parts.append(torch.einsum("bqk,bck->bcq", share, v))
        attended = torch.cat(parts, 1).view(x.shape)
        return (self.conv(f"{layer}.proj", attended) + x) * self.gain
