"""Networks, noise schedules and seeded noise: from a card's `config` to a callable network.

A diffusion model is trained on x_t = sqrt(alpha_bar_t) x_0 + sqrt(1 - alpha_bar_t) eps. The
network predicts eps from (x_t, t); the schedule is the vector alpha_bar over the timesteps.

A class-conditional network takes its label y in the same integer as the timestep, as the code
t + T y (`Denoiser.inputs`): so it is (x, code) -> prediction too, and a code below T is a timestep
of class 0.

A network at levels of another kind is told a number of its own in the place of the timestep, and
takes its label apart, (x, told, y).

A network that was trained with rescaled timesteps (Nichol and Dhariwal 2021, rescale_timesteps)
sees 1000 t / T in place of t. That is done within the network, behind the code, so no stage sees
anything but integers below T.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import torch
from torch import Tensor, nn

from bench.core.errors import InputError
from bench.system.quiet import quiet_import

# Number of timesteps onto which a network with rescaled timesteps maps its own.
USUAL_TIMESTEPS = 1000


class PatchedUNet(nn.Module):
    """A diffusers `UNet2DModel` on non-overlapping pixel patches.

    Patches of size p turn (B, C, H, W) into (B, C p^2, H/p, W/p), an orthonormal rearrangement, so
    the noise stays white. With p = 1 this is the plain network.

    Args:
        patch: edge p of a patch in pixels.
        unet: a `UNet2DModel` for the patched resolution and channels.
        time_scale: the U-Net is called with the timestep times this.
    """

    def __init__(self, patch: int, unet: nn.Module, time_scale: float = 1.0) -> None:
        super().__init__()
        self.patch = patch
        self.unet = unet
        self.time_scale = time_scale

    def forward(self, x: Tensor, t: Tensor) -> Tensor:
        """Predict from images x of shape (B, C, H, W) at integer timesteps t of shape (B,)."""
        return self.predict(x, self.scaled(t))

    def scaled(self, t: Tensor) -> Tensor:
        """The timesteps that the U-Net sees, of those of the schedule."""
        return t if self.time_scale == 1 else t * self.time_scale

    def predict(self, x: Tensor, *conditions: Tensor) -> Tensor:
        """Predict from images and further arguments of the U-Net."""
        if self.patch == 1:
            return self.unet(x, *conditions, return_dict=False)[0]
        patches = nn.functional.pixel_unshuffle(x, self.patch)
        prediction = self.unet(patches, *conditions, return_dict=False)[0]
        return nn.functional.pixel_shuffle(prediction, self.patch)


class LabelledUNet(PatchedUNet):
    """A class-conditional network, called with codes t + T y, or with level and label apart.

    Args:
        patch: edge of a patch in pixels.
        unet: takes (x, t, y): a `UNet2DModel` or `DiTTransformer2DModel`.
        timesteps: number of timesteps T.
        time_scale: the network is called with the timestep t times this.
    """

    def __init__(
        self, patch: int, unet: nn.Module, timesteps: int, time_scale: float = 1.0
    ) -> None:
        super().__init__(patch, unet, time_scale)
        self.timesteps = timesteps

    def forward(self, x: Tensor, t: Tensor, y: Tensor | None = None) -> Tensor:
        """Predict from images x (B, C, H, W) at codes t (B,), or at levels t with labels y."""
        if y is not None:
            return self.predict(x, self.scaled(t), y)
        return self.predict(x, self.scaled(t % self.timesteps), t // self.timesteps)


class CodedNetwork(nn.Module):
    """Any network as bench calls it: with images and codes t + T y, or with images, what it is
    told of a level, and labels.

    Args:
        network: takes images, timesteps or what it is told of a level, and labels where it has
            classes.
        call: how it is called, None for network(x, t).
        classes: number of classes, 0 for none.
        timesteps: their number T.
        identity: a text that differs wherever what is computed does.
    """

    def __init__(
        self,
        network: nn.Module,
        call: Callable[..., Tensor] | None,
        classes: int,
        timesteps: int,
        identity: str,
    ) -> None:
        super().__init__()
        self.network = network
        self.call = call
        self.classes, self.timesteps, self.identity = classes, timesteps, identity

    def forward(self, x: Tensor, codes: Tensor, labels: Tensor | None = None) -> Tensor:
        """Predict from images x (B, C, H, W) at codes (B,), or at levels with labels (B,)."""
        inputs: tuple[Tensor, ...] = (x, codes)
        if labels is not None:
            inputs = x, codes, labels
        elif self.classes and not codes.is_floating_point():
            inputs = x, codes % self.timesteps, codes // self.timesteps
        return self.network(*inputs) if self.call is None else self.call(self.network, *inputs)

    def extra_repr(self) -> str:
        """The identity: networks of one structure may compute different things."""
        return self.identity


def build_network(
    config: Mapping[str, Any], timesteps: int = 1000, rescale_timesteps: bool = False
) -> PatchedUNet:
    """Build the network of a card with fresh weights.

    Args:
        config: `{"patch": p, "unet": {...UNet2DModel arguments...}}`; with `num_class_embeds` it
            is class-conditional. `"heads": n` gives every attention n heads, whatever its width,
            in place of the U-Net's attention_head_dim.
        timesteps: number of timesteps T, for the codes of a class-conditional network.
        rescale_timesteps: whether the network sees 1000 t / T in place of t.

    Raises:
        InputError: an unknown field, or one that no network can be built with.
    """
    patch, unet = config.get("patch", 1), config.get("unet")
    unknown = sorted(map(str, set(config) - {"patch", "unet", "heads"}))
    if unknown:
        raise InputError(f"network: unknown field {unknown[0]}; it has patch, unet and heads")
    if type(patch) is not int or patch < 1:
        raise InputError(f"network: patch must be a positive integer, not {patch!r}")
    if not isinstance(unet, Mapping):
        raise InputError(f"network: unet must be the arguments of UNet2DModel, not {unet!r}")
    with quiet_import():
        from diffusers import UNet2DModel
    # Where the number of heads is given, the default of the U-Net must not divide its widths.
    heads = {"attention_head_dim": unet.get("attention_head_dim")} if "heads" in config else {}
    try:
        network = UNet2DModel(**{**unet, **heads})
    # diffusers' constructors raise nearly every exception on bad arguments.
    except Exception as error:
        raise InputError(f"network cannot be built ({_reason(error)})") from None
    if "heads" in config:
        set_heads(network, config["heads"], unet.get("attention_head_dim"))
    scale = USUAL_TIMESTEPS / timesteps if rescale_timesteps else 1.0
    if unet.get("num_class_embeds"):
        return LabelledUNet(patch, network, timesteps, scale)
    return PatchedUNet(patch, network, scale)


def set_heads(network: nn.Module, heads: Any, channels: int | None = None) -> None:
    """Give every attention of a network one number of heads, whatever its width.

    `UNet2DModel` knows heads of one number of channels alone.

    Args:
        network: holds diffusers' attentions.
        heads: their number.
        channels: the channels of a head, as the network's own arguments say.

    Raises:
        InputError: no positive number, one that does not divide a width, or channels beside it.
    """
    from diffusers.models.attention_processor import Attention

    if type(heads) is not int or heads < 1:
        raise InputError(f"network: heads must be a positive integer, not {heads!r}")
    if channels is not None:
        raise InputError("network: heads and attention_head_dim exclude each other")
    for module in network.modules():
        if isinstance(module, Attention):
            if module.inner_dim % heads:
                raise InputError(f"network: {heads} heads do not divide {module.inner_dim} wide")
            module.heads = heads
            module.scale = (module.inner_dim // heads) ** -0.5


@torch.no_grad()
def check_network(network: nn.Module, shape: Sequence[int], learns_variance: bool) -> None:
    """Evaluate a network once, to refuse a wrong one before sampling or training.

    Args:
        network: (x, t) -> prediction.
        shape: (C, H, W) of an image.
        learns_variance: whether it must have 2C outputs.

    Raises:
        InputError: it does not take images of this shape or does not answer with as many channels.
    """
    device = next(parameter.device for parameter in network.parameters())
    x = torch.zeros(1, *shape, device=device)
    try:
        made = tuple(network(x, torch.zeros(1, dtype=torch.int64, device=device)).shape[1:])
    except Exception as error:
        raise InputError(
            f"network does not take images of shape {list(shape)} ({_reason(error)})"
        ) from None
    wanted = (shape[0] * (2 if learns_variance else 1), *shape[1:])
    if made != wanted:
        raise InputError(
            f"network gives {list(made)} for images of shape {list(shape)}, not {list(wanted)}, "
            f"with learns_variance {learns_variance}: set out_channels"
        )


@torch.no_grad()
def layer_outputs(network: nn.Module, inputs: Sequence[Tensor]) -> int:
    """Numbers that the convolutions and linear layers put out when a network is called."""
    counts: list[int] = []

    def count(module: nn.Module, inputs: object, output: Tensor) -> None:
        counts.append(output.numel())

    layers = [m for m in network.modules() if isinstance(m, (nn.Conv2d, nn.Linear))]
    hooks = [layer.register_forward_hook(count) for layer in layers]
    network(*inputs)
    for hook in hooks:
        hook.remove()
    return sum(counts)


def _reason(error: Exception) -> str:
    return " ".join(f"{type(error).__name__}: {error}".split())[:200]
