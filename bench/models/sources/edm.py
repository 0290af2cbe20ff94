"""Source `edm`: state dicts of EDM's networks (Karras et al. 2022) under their authors' names.

`SongUNet` as DDPM++ and as NCSN++, and `DhariwalUNet` (ADM), bare or within `EDMPrecond`. The
names of the layers have the sizes of the images, and the order of the layers follows from the
names; the shapes tell widths, attention, classes and the filters of resampling. SongUNet is told
from DhariwalUNet by where its last normalization stands; the constants are those of the class:

                     SongUNet                                   DhariwalUNet
    a residual sum   divided by the root of two                 as it is
    attention        one head                                   heads of 64 channels
    label            added to the embedding of the noise        added behind the perceptron

F is given c_in x and c_noise, the levels are `edm`, and nothing of the augmentation is used.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.functional import conv2d, conv_transpose2d, scaled_dot_product_attention, silu

from bench.core.cell import Checkpoint
from bench.core.denoiser import Denoiser
from bench.core.errors import InputError
from bench.models.sources import authors
from bench.models.sources.layer_names import Parts, check_skips, ordered

HEAD = 64
# What the layers of a resolution are, in their order; blocks have numbers behind.
ENCODER = ("conv", "down", "aux_residual", "block")
DECODER = ("in0", "in1", "up", "block", "aux_norm", "aux_conv")


def norm(width: int, is_song: bool) -> nn.GroupNorm:
    """Group normalization of at least four channels a group."""
    return nn.GroupNorm(min(32, width // 4), width, eps=1e-6 if is_song else 1e-5)


class Resample(nn.Module):
    """Half or twice the resolution by a filter of each channel.

    Args:
        change: "down", "up", or "" for none.
        taps: the filter, (1, 1, n, n), whose sum is 1.
        pads: whether (n - 1) // 2 pixels are put around, else a convolution before has done so.
    """

    def __init__(self, change: str, taps: Tensor | None, pads: bool = True) -> None:
        super().__init__()
        self.change, self.padding = change, 0
        if taps is not None:
            self.padding = (taps.shape[-1] - 1) // 2 if pads else 0
            self.register_buffer("taps", taps.float().clone(), persistent=False)
        is_mean = taps is not None and taps.shape[-1] == 2 and bool((taps == 0.25).all())
        simple = {"down": nn.AvgPool2d(2), "up": nn.Upsample(scale_factor=2.0)}
        self.simple = simple[change] if change and is_mean else nn.Identity()
        self.filters = bool(change) and not is_mean

    def forward(self, x: Tensor) -> Tensor:
        """Of (B, C, H, W)."""
        if not self.filters:
            made: Tensor = self.simple(x)
            return made
        taps: Tensor = self.taps.tile(x.shape[1], 1, 1, 1)  # type: ignore[operator]
        if self.change == "down":
            return conv2d(x, taps, stride=2, padding=self.padding, groups=x.shape[1])
        return conv_transpose2d(x, 4 * taps, stride=2, padding=self.padding, groups=x.shape[1])


class Block(nn.Module):
    """A residual block, with attention where there are weights for it.

    Args:
        parts: its weights, of which the shapes matter, and the taps of its filter.
        change: of the resolution, as for `Resample`.
        is_song: whether the constants are SongUNet's.
    """

    def __init__(self, parts: Parts, change: str, is_song: bool) -> None:
        super().__init__()
        self.width, self.inputs = parts["conv0.weight"].shape[:2]
        width, inputs = self.width, self.inputs
        rows, embedding = parts["affine.weight"].shape
        self.norm0, self.norm1 = norm(inputs, is_song), norm(width, is_song)
        self.conv0, self.conv1 = (nn.Conv2d(n, width, 3, padding=1) for n in (inputs, width))
        self.affine = nn.Linear(embedding, rows)
        self.resample = Resample(change, parts["conv0.resample_filter"] if change else None)
        self.skip = nn.Conv2d(inputs, width, 1) if "skip.weight" in parts else nn.Identity()
        self.scales, self.gain = rows == 2 * width, 0.5**0.5 if is_song else 1.0
        self.attends, self.heads = "qkv.weight" in parts, 1 if is_song else width // HEAD
        if self.attends:
            self.norm2 = norm(width, is_song)
            self.qkv, self.proj = nn.Conv2d(width, 3 * width, 1), nn.Conv2d(width, width, 1)

    def forward(self, x: Tensor, embedding: Tensor) -> Tensor:
        """Of (B, C, H, W) and the embedding (B, D)."""
        h = self.conv0(self.resample(silu(self.norm0(x))))
        moved = self.affine(embedding)[:, :, None, None]
        if self.scales:
            scale, shift = moved.chunk(2, 1)
            h = self.conv1(silu(self.norm1(h) * (scale + 1) + shift))
        else:
            h = self.conv1(silu(self.norm1(h + moved)))
        x = (h + self.skip(self.resample(x))) * self.gain
        return self.attended(x) if self.attends else x

    def attended(self, x: Tensor) -> Tensor:
        """x and what attention adds to it; a channel has its q, k and v beside each other."""
        rows = self.qkv(self.norm2(x)).flatten(2).unflatten(1, (self.heads, -1, 3))
        q, k, v = rows.permute(3, 0, 1, 4, 2)
        h = scaled_dot_product_attention(q, k, v).mT.reshape(x.shape)
        made: Tensor = (self.proj(h) + x) * self.gain
        return made


class Residual(nn.Module):
    """NCSN++'s sum of the image at each resolution: a convolution and a filter in one."""

    def __init__(self, parts: Parts) -> None:
        super().__init__()
        width, inputs = parts["weight"].shape[:2]
        taps = parts["resample_filter"]
        self.conv = nn.Conv2d(inputs, width, 3, padding=1 + (taps.shape[-1] - 1) // 2)
        self.resample = Resample("down", taps, pads=False)

    def forward(self, x: Tensor, beside: Tensor) -> Tensor:
        """Of the image so far and the layer beside it."""
        made: Tensor = (beside + self.resample(self.conv(x))) * 0.5**0.5
        return made


class Embedding(nn.Module):
    """The embedding of the noise and the label, (B,) and (B,) -> (B, D)."""

    def __init__(self, weights: Parts, is_song: bool) -> None:
        super().__init__()
        self.is_song = is_song
        out, width = weights["map_layer0.weight"].shape
        self.map_layer0, self.map_layer1 = nn.Linear(width, out), nn.Linear(out, out)
        frequencies = torch.arange(width // 2) / (width // 2 - (1 if is_song else 0))
        frequencies = 1e-4**frequencies
        if "map_noise.freqs" in weights:
            frequencies = 2 * torch.pi * weights["map_noise.freqs"].float()
        self.register_buffer("frequencies", frequencies, persistent=False)
        label = weights.get("map_label.weight")
        self.classes = 0 if label is None else label.shape[1]
        if label is not None:
            self.map_label = nn.Linear(self.classes, len(label), bias=is_song)

    def forward(self, noise: Tensor, labels: Tensor | None) -> Tensor:
        """Of c_noise and labels, of which one behind the classes is none."""
        angles = noise.to(torch.float32)[:, None] * self.frequencies  # type: ignore[operator]
        order = (angles.sin(), angles.cos()) if self.is_song else (angles.cos(), angles.sin())
        h, label = torch.cat(order, 1), None
        if labels is not None:
            known = torch.arange(self.classes, device=labels.device)
            label = (labels[:, None] == known).to(h.dtype)
        if label is not None and self.is_song:
            h = h + self.map_label(label * self.classes**0.5)
        h = self.map_layer1(silu(self.map_layer0(h)))
        if label is not None and not self.is_song:
            h = h + self.map_label(label)
        return silu(h)


class Unet(nn.Module):
    """The whole network.

    Args:
        weights: under the authors' names.
    """

    def __init__(self, weights: Parts) -> None:
        super().__init__()
        is_song = "out_norm.weight" not in weights
        self.map = Embedding(weights, is_song)
        self.enc, self.dec = nn.ModuleDict(), nn.ModuleDict()
        for name, kind, parts in ordered(weights, "enc", ENCODER):
            if kind == "conv":
                width, inputs = parts["weight"].shape[:2]
                self.enc[name] = nn.Conv2d(inputs, width, 3, padding=1)
            elif kind == "aux_residual":
                self.enc[name] = Residual(parts)
            else:
                self.enc[name] = Block(parts, kind if kind == "down" else "", is_song)
        for name, kind, parts in ordered(weights, "dec", DECODER):
            if kind not in ("aux_norm", "aux_conv"):
                self.dec[name] = Block(parts, kind if kind == "up" else "", is_song)
        check_skips(list(self.enc), list(self.dec))
        last = "out_" if not is_song else f"dec.{self.first.removesuffix('conv')}aux_"
        outputs, width = weights[f"{last}conv.weight"].shape[:2]
        self.norm, self.conv = norm(width, is_song), nn.Conv2d(width, outputs, 3, padding=1)
        self.last, self.outputs = last, outputs

    @property
    def first(self) -> str:
        """The name of the first convolution, which has the size of the images."""
        return next(iter(self.enc))

    def forward(self, x: Tensor, noise: Tensor, labels: Tensor | None = None) -> Tensor:
        """F of c_in x (B, C, H, W), c_noise (B,) and labels (B,)."""
        embedding = self.map(noise, labels)
        image, skips = x, list[Tensor]()
        for name, layer in self.enc.items():
            if isinstance(layer, Residual):
                skips[-1] = image = layer(image, skips[-1])
            else:
                inputs = (x,) if name == self.first else (skips[-1], embedding)
                skips.append(layer(*inputs))
        h = skips[-1]
        for name, layer in self.dec.items():
            h = layer(torch.cat([h, skips.pop()], 1) if "block" in name else h, embedding)
        made: Tensor = self.conv(silu(self.norm(h)))
        return made


def renamed(weights: Parts, network: Unet) -> dict[str, Tensor]:
    """Weights under the names of `Unet`; filters are in its layers, and augmentation is not."""
    made = {}
    for name, value in weights.items():
        if name.endswith("resample_filter") or name in ("map_augment.weight", "map_noise.freqs"):
            continue
        if name.startswith(network.last):
            name = name.removeprefix(network.last)
        elif name.startswith("map_"):
            name = f"map.{name}"
        elif "aux_residual." in name:
            name = name.replace("aux_residual.", "aux_residual.conv.")
        made[name] = value
    return made


def read(weights: Parts, own: Mapping[str, Any]) -> authors.Network:
    """The network of weights under the authors' names.

    Raises:
        InputError: they are others.
    """
    try:
        network = Unet(weights)
        size = int(network.first.partition("x")[0])
        channels = weights[f"enc.{network.first}.weight"].shape[1]
    except (KeyError, ValueError, IndexError, StopIteration) as error:
        raise InputError(f"these are not the weights of a network of EDM ({error})") from None
    if network.outputs != channels:
        raise InputError(f"a network of EDM that gives {network.outputs} of {channels} channels")
    kind = "DhariwalUNet" if network.last == "out_" else "SongUNet"
    if "map_noise.freqs" in weights:
        kind = "SongUNet as NCSN++"
    classes = network.map.classes
    title = f"EDM's {kind}, {len(network.enc)} and {len(network.dec)} layers" + (
        f", {classes} classes" if classes else ", without classes"
    )
    shape = (channels, size, size)
    return authors.Network(
        network, renamed(weights, network), shape, network.outputs, title, classes
    )


AUTHOR = authors.Author("EDM", read, {}, levels={"kind": "edm"})


# Every field of the config; any other is refused.
FIELDS = (*authors.SHARED, *AUTHOR.fields)


def load(checkpoint: Checkpoint) -> Denoiser:
    """Load a checkpoint strictly, as `bench.models.sources.authors.load` does."""
    return authors.load(checkpoint, AUTHOR)
