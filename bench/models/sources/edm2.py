"""Source `edm2`: state dicts of EDM2's networks (Karras et al. 2024) under their authors' names.

The names of the layers have the sizes of the images, and the shapes tell widths, attention and
classes. A layer's weights are normalized to unit magnitude before each product and divided by the
root of their number (section 2.3), and gains are learned; all of that is done once, here, so what
is left are plain convolutions and linear layers without bias. What no shape tells is that of all
published networks: residual sums of 0.7 to 0.3, even sums of skips and labels, heads of 64
channels, activations within 256.

F is given c_in x and c_noise; the levels are `edm`. What estimates the uncertainty of the training
beside the network is passed over.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.functional import avg_pool2d, interpolate, scaled_dot_product_attention, silu

from bench.core.cell import Checkpoint
from bench.core.denoiser import Denoiser
from bench.core.errors import InputError
from bench.models.sources import authors, latents
from bench.models.sources.layer_names import Parts, check_skips, ordered

HEAD, LARGEST, EPSILON = 64, 256.0, 1e-4
# The share of what is added, in a residual sum.
SHARE = 0.3
# What silu is divided by, so that unit variance stays.
SILU = 0.596
# What the authors take for mean and deviation of the channels of raw latents, and the deviation
# that theirs have.
MEANS, DEVIATIONS, DEVIATION = (5.81, 3.25, 0.12, -2.15), (4.17, 4.62, 3.71, 3.28), 0.5
ENCODER = ("conv", "down", "block")
DECODER = ("in0", "in1", "up", "block")


def activation(x: Tensor) -> Tensor:
    """silu that keeps unit variance."""
    return silu(x) / SILU


def mixed(x: Tensor, y: Tensor, share: float) -> Tensor:
    """(1 - share) x + share y over the magnitude of both, if they are independent."""
    return torch.lerp(x, y, share) / ((1 - share) ** 2 + share**2) ** 0.5


def normal(x: Tensor, dim: int) -> Tensor:
    """x with a root mean square of 1 over a dimension."""
    return x / (EPSILON + x.square().mean(dim, keepdim=True).sqrt())


def joined(x: Tensor, y: Tensor) -> Tensor:
    """Both in one, of equal weight whatever their widths."""
    widths = x.shape[1], y.shape[1]
    gains = [(sum(widths) / 2 / width) ** 0.5 for width in widths]
    return torch.cat([gains[0] * x, gains[1] * y], 1)


def folded(weight: Tensor, gain: Tensor | float = 1.0) -> Tensor:
    """A weight as it is multiplied with: float32, like the weight."""
    rows = weight.float().flatten(1)
    root = rows.shape[1] ** 0.5
    scaled = rows / (EPSILON + rows.norm(dim=1, keepdim=True) / root) / root
    return (scaled * torch.as_tensor(gain).float()).reshape(weight.shape)


def convolution(weight: Tensor) -> nn.Conv2d:
    """A convolution of the shape of a weight."""
    width, inputs, side, _ = weight.shape
    return nn.Conv2d(inputs, width, side, padding=side // 2, bias=False)


class Block(nn.Module):
    """A residual block of figure 21, with attention where there are weights for it.

    Args:
        parts: its weights, of which the shapes matter.
        change: "down", "up" or "".
        is_encoder: whether it normalizes its input.
    """

    def __init__(self, parts: Parts, change: str, is_encoder: bool) -> None:
        super().__init__()
        self.change, self.is_encoder = change, is_encoder
        self.conv_res0 = convolution(parts["conv_res0.weight"])
        self.conv_res1 = convolution(parts["conv_res1.weight"])
        width, inputs = parts["emb_linear.weight"].shape
        self.emb_linear = nn.Linear(inputs, width, bias=False)
        self.shortens, self.attends = "conv_skip.weight" in parts, "attn_qkv.weight" in parts
        if self.shortens:
            self.conv_skip = convolution(parts["conv_skip.weight"])
        if self.attends:
            self.heads = width // HEAD
            self.attn_qkv = convolution(parts["attn_qkv.weight"])
            self.attn_proj = convolution(parts["attn_proj.weight"])

    def forward(self, x: Tensor, embedding: Tensor) -> Tensor:
        """Of (B, C, H, W) and the embedding (B, D)."""
        if self.change:
            down = self.change == "down"
            x = avg_pool2d(x, 2) if down else interpolate(x, scale_factor=2.0)
        if self.is_encoder:
            x = normal(self.conv_skip(x) if self.shortens else x, 1)
        h = self.conv_res0(activation(x))
        h = activation(h * (self.emb_linear(embedding) + 1)[:, :, None, None])
        h = self.conv_res1(h)
        if self.shortens and not self.is_encoder:
            x = self.conv_skip(x)
        x = mixed(x, h, SHARE)
        x = mixed(x, self.attended(x), SHARE) if self.attends else x
        return x.clamp(-LARGEST, LARGEST)

    def attended(self, x: Tensor) -> Tensor:
        """Attention of normalized q, k and v, which a channel has beside each other."""
        rows = self.attn_qkv(x).flatten(2).unflatten(1, (self.heads, -1, 3))
        q, k, v = normal(rows, 2).permute(3, 0, 1, 4, 2)
        made: Tensor = self.attn_proj(scaled_dot_product_attention(q, k, v).mT.reshape(x.shape))
        return made


class Unet(nn.Module):
    """The whole network.

    Args:
        weights: under the authors' names.
    """

    def __init__(self, weights: Parts) -> None:
        super().__init__()
        width, waves = weights["emb_noise.weight"].shape
        for name in ("freqs", "phases"):
            self.register_buffer(name, weights[f"emb_fourier.{name}"].float(), persistent=False)
        self.emb_noise = nn.Linear(waves, width, bias=False)
        label = weights.get("emb_label.weight")
        self.classes = 0 if label is None else label.shape[1]
        if label is not None:
            self.emb_label = nn.Linear(self.classes, width, bias=False)
        self.enc, self.dec = nn.ModuleDict(), nn.ModuleDict()
        for name, kind, parts in ordered(weights, "enc", ENCODER):
            down = "down" if kind == "down" else ""
            is_first = kind == "conv"
            self.enc[name] = convolution(parts["weight"]) if is_first else Block(parts, down, True)
        for name, kind, parts in ordered(weights, "dec", DECODER):
            self.dec[name] = Block(parts, "up" if kind == "up" else "", False)
        check_skips(list(self.enc), list(self.dec))
        self.out_conv = convolution(weights["out_conv.weight"])

    def forward(self, x: Tensor, noise: Tensor, labels: Tensor | None = None) -> Tensor:
        """F of c_in x (B, C, H, W), c_noise (B,) and labels (B,), of which one behind the classes
        is none."""
        angles = noise.to(torch.float32)[:, None] * self.freqs + self.phases  # type: ignore[operator]
        embedding = self.emb_noise(angles.cos() * 2**0.5)
        if labels is not None:
            known = torch.arange(self.classes, device=labels.device)
            label = (labels[:, None] == known).to(x.dtype) * self.classes**0.5
            embedding = mixed(embedding, self.emb_label(label), 0.5)
        embedding = activation(embedding)
        first, *layers = self.enc.values()
        skips = [first(torch.cat([x, torch.ones_like(x[:, :1])], 1))]
        for layer in layers:
            skips.append(layer(skips[-1], embedding))
        h = skips[-1]
        for name, layer in self.dec.items():
            h = layer(joined(h, skips.pop()) if "block" in name else h, embedding)
        made: Tensor = self.out_conv(h)
        return made


def renamed(weights: Parts) -> dict[str, Tensor]:
    """Weights under the names of `Unet`, normalized and with their gains."""
    made = {}
    for name, value in weights.items():
        stem, _, kind = name.rpartition(".")
        if kind != "weight":
            # Gains, and the waves of the embedding.
            continue
        gain: Tensor | float = 1.0
        if stem == "out_conv":
            gain = weights["out_gain"]
        elif stem.endswith(".emb_linear"):
            gain = weights[f"{stem.removesuffix('linear')}gain"]
        made[name] = folded(value, gain)
    return made


def read(weights: Parts, own: Mapping[str, Any]) -> authors.Network:
    """The network of weights under the authors' names.

    Raises:
        InputError: they are others.
    """
    beside = ("logvar_fourier.", "logvar_linear.")
    weights = {
        name.removeprefix("unet."): v for name, v in weights.items() if not name.startswith(beside)
    }
    known = ("weight", "out_gain", "emb_gain", "freqs", "phases")
    for name in weights:
        if name.rpartition(".")[2] not in known:
            raise InputError(f"a network of EDM2 with a weight {name[:80]}, which is not built")
    try:
        network = Unet(weights)
        first = next(iter(network.enc))
        size, channels = int(first.partition("x")[0]), len(weights["out_conv.weight"])
        made = renamed(weights)
    except (KeyError, ValueError, IndexError, StopIteration) as error:
        raise InputError(f"these are not the weights of a network of EDM2 ({error})") from None
    classes = network.classes
    title = f"EDM2's UNet, {len(network.enc)} and {len(network.dec)} layers" + (
        f", {classes} classes" if classes else ", without classes"
    )
    return authors.Network(network, made, (channels, size, size), channels, title, classes)


class Decoder(latents.Decoder):
    """Images of EDM2's latents, which have mean 0 and deviation 0.5 in each channel, by a decoder
    that was given images in [0, 1] (its authors' StabilityVAEEncoder)."""

    def __init__(self, network: Any, scale: float) -> None:
        super().__init__(network, scale)
        if type(network).__name__ != "AutoencoderKL" or network.config["latent_channels"] != 4:
            raise InputError("EDM2's latents are the four channels of an AutoencoderKL")
        self.mean = torch.tensor(MEANS).view(1, -1, 1, 1)
        self.factor = DEVIATION / torch.tensor(DEVIATIONS).view(1, -1, 1, 1)

    def __call__(self, latents: Tensor) -> Tensor:
        """Decode."""
        raw = latents / self.factor.to(latents.device) + self.mean.to(latents.device)
        made: Tensor = 2 * self.network.decode(raw).sample - 1
        return made

    def encode(self, images: Tensor) -> Tensor:
        """Latents of images in [-1, 1], the mode of their distribution."""
        raw = self.network.encode((images + 1) / 2).latent_dist.mode()
        made: Tensor = (raw - self.mean.to(raw.device)) * self.factor.to(raw.device)
        return made


AUTHOR = authors.Author("EDM2", read, {}, levels={"kind": "edm"}, decoder=Decoder)


# Every field of the config; any other is refused.
FIELDS = (*authors.SHARED, *AUTHOR.fields)


def load(checkpoint: Checkpoint) -> Denoiser:
    """Load a checkpoint strictly, as `bench.models.sources.authors.load` does."""
    return authors.load(checkpoint, AUTHOR)
