"""Source `diffusers`: a folder that a diffusers pipeline saved, or `hf:OWNER/NAME` of the hub.

What the folder says is used: its components (`bench.models.sources.pipeline_index`), the network
with its config and the decoder of a latent model (`network_config`), the noise schedule, the kind
of prediction and the bounds of x_0 (`scheduler_config`). A field that is not honoured is refused.

The images of a latent model are decode(x_0 / scaling_factor + shift_factor).

config:
    weights: raw | ema | swa   what the folder holds; chooses between `unet` and `unet_ema`
    variant: fp16              which files of weights, where there are several
    predicts: ...              only where the folder does not say
    sample_size: 32            only where the network's config does not say
    scaling_factor: 1.0        only where the decoder's config does not say
    null_class: 10             of a UNet2DModel whose last or any label stands for no class
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from torch import Tensor

from bench.core.cell import Checkpoint
from bench.core.denoiser import Denoiser
from bench.core.errors import InputError
from bench.models.networks import LabelledUNet, PatchedUNet, check_network
from bench.models.sources import pretrained
from bench.models.sources.card_config import CHOICES, check_kind, drawn_classes
from bench.models.sources.described import Described, describe, kind, learns_variance, positive
from bench.models.sources.weights_file import check_fields
from bench.system import components, hub

FIELDS = ("weights", "variant", "predicts", "sample_size", "scaling_factor", "null_class")


class Decoder:
    """Images of latents: (B, C, H, W) -> (B, 3, H', W') in about [-1, 1]."""

    def __init__(self, network: Any, scale: float) -> None:
        self.network, self.scale = network, scale
        self.shift = float(network.config.get("shift_factor") or 0.0)

    def __call__(self, latents: Tensor) -> Tensor:
        """Decode."""
        return self.network.decode(latents / self.scale + self.shift).sample

    def encode(self, images: Tensor) -> Tensor:
        """Latents of images in [-1, 1], the mode where there is a distribution of them."""
        encoded = self.network.encode(images)
        latents = encoded.latents if hasattr(encoded, "latents") else encoded.latent_dist.mode()
        return (latents - self.shift) * self.scale

    def to(self, device: str) -> None:
        """Move the network to a device."""
        self.network.to(device)


def load(checkpoint: Checkpoint) -> Denoiser:
    """Load a folder strictly: every weight present, none left over, all finite.

    Raises:
        InputError: a missing or damaged file, a network or schedule of another kind, weights that
            do not fit, or a config with other fields than those above.
    """
    label = f"card {checkpoint.name!r}"
    _check_config(checkpoint, f"{label}, field config")
    try:
        folder = hub.folder(checkpoint.uri, checkpoint.revision)
        described = describe(folder, checkpoint.config)
        check_kind(checkpoint.method, kind(described, checkpoint.config), label)
        return _build(described, checkpoint.config)
    except InputError as error:
        raise InputError(f"{label}: {error}") from None


def _check_config(checkpoint: Checkpoint, label: str) -> None:
    check_fields(checkpoint, FIELDS)
    for name, value in checkpoint.config.items():
        if name in CHOICES and value not in CHOICES[name]:
            words = ", ".join(word for word in CHOICES[name] if word)
            raise InputError(f"{label}: {name} must be one of {words}, not {value!r}")
        if name == "variant" and not isinstance(value, str):
            raise InputError(f"{label}: variant must be text, not {value!r}")
        if name == "null_class" and (type(value) is not int or value < 0):
            raise InputError(f"{label}: null_class must be a label, from 0, not {value!r}")
        if name == "scaling_factor" and not positive(value):
            raise InputError(f"{label}: scaling_factor must be a positive number, not {value!r}")
    check_kind(checkpoint.method, checkpoint.config.get("weights"), label)


def _build(described: Described, config: Mapping[str, Any]) -> Denoiser:
    noise, variant = described.noise, config.get("variant")
    model = pretrained.component(
        described.network_folder, described.name, described.arguments, variant
    )
    null, classes = _null_label(described, config.get("null_class"), model)
    timesteps = len(noise.levels)
    wrapped = LabelledUNet(1, model, timesteps) if described.classes else PatchedUNet(1, model)
    learns = learns_variance(described.arguments)
    check_network(wrapped, described.shape, learns)
    if noise.variance == "learned_range" and not learns:
        raise InputError(
            f"variance_type = 'learned_range' of the scheduler does not fit "
            f"{described.network_folder}, whose network has no outputs for the variance"
        )
    decoder = None
    if described.decoder:
        decoder_folder, name, arguments = described.decoder
        chosen = (
            variant if variant in {v for v, _ in components.variants(decoder_folder)} else None
        )
        decoder = Decoder(
            pretrained.component(decoder_folder, name, arguments, chosen),
            arguments["scaling_factor"],
        )
    clips = noise.clips if noise.clips is not None else decoder is None
    return Denoiser(
        model=wrapped,
        levels=noise.levels,
        predicts=noise.predicts,
        shape=described.shape,
        learns_variance=learns,
        variance="fixed_large" if noise.variance == "fixed_large" else "fixed_small",
        classes=classes,
        null_label=null,
        sigma_data=noise.sigma_data,
        clips=clips,
        decode=decoder,
        clip_range=noise.clip_range,
        thresholds=noise.thresholds,
        description=description(described, config, clips, learns),
    )


def _null_label(described: Described, card: int | None, model: Any) -> tuple[int | None, int]:
    """The label that stands for no class, and the number of classes that are drawn.

    A DiT was trained with one behind its classes (Peebles and Xie 2023); of a U-Net the card says
    which of its labels it is, if any.

    Raises:
        InputError: the card names one of a DiT, or one that is none of the network's labels.
    """
    classes = described.classes
    if described.name != "DiTTransformer2DModel":
        return card, drawn_classes({"num_class_embeds": classes}, card)
    if card is not None:
        raise InputError("null_class: a DiT has its own behind its classes: take it off the card")
    tables = [
        m for name, m in model.named_modules() if name.endswith("class_embedder.embedding_table")
    ]
    has_null = classes and any(table.num_embeddings > classes for table in tables)
    return (classes if has_null else None), classes


def description(
    described: Described, config: Mapping[str, Any], clips: bool, learns: bool
) -> dict[str, str]:
    """The description in words, for the protocol of a run."""
    told = {
        "schedule": described.noise.schedule,
        "prediction": described.noise.predicts,
        "predicted x_0": described.noise.bounds(clips),
        "variance": _variance(described.noise.variance, learns),
        "weights": pretrained.told(described.network_folder, config.get("variant")),
    }
    if described.noise.own_steps:
        told["steps of its scheduler"] = f"{described.noise.own_steps}; a run has its own"
    if described.decoder:
        decoder_folder, name, arguments = described.decoder
        told["decoder"] = (
            f"{name} in {decoder_folder.name}, latents / {arguments['scaling_factor']:g}"
        )
    if described.assumed:
        told["assumed"] = "; ".join(described.assumed)
    return told


def _variance(stated: str | None, learns: bool) -> str:
    if not learns:
        return stated or "fixed_small"
    passed = stated not in (None, "learned_range")
    return "learned_range" + (f", which the scheduler calls {stated}" if passed else "")
