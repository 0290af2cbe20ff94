"""Source `diffusers`: a folder that a diffusers pipeline saved, or `hf:OWNER/NAME` of the hub.

What the folder says is used: the network with its config, the scheduler's noise schedule and kind
of prediction, and the decoder of a latent model. The network is a `UNet2DModel` or a
`DiTTransformer2DModel`; the decoder is an `AutoencoderKL`, or a `VQModel`.

A latent model's x_0 is not clamped, and its images are decode(x_0 / scaling_factor).

config:
    weights: raw | ema | swa   what the folder holds; it does not say itself
    predicts: ...              only where the folder does not say
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from bench import hub
from bench.errors import InputError
from bench.networks import LabelledUNet, PatchedUNet, check_network
from bench.protocols import Denoiser
from bench.quiet import quiet_import
from bench.sources.local import CHOICES, check_fields, check_kind
from bench.spec import Checkpoint

NETWORKS = ("UNet2DModel", "DiTTransformer2DModel")
DECODERS = ("AutoencoderKL", "VQModel")
# Schedulers that differ in how they sample but share the meaning of their betas.
SCHEDULERS = (
    "DDPMScheduler",
    "DDIMScheduler",
    "PNDMScheduler",
    "DPMSolverMultistepScheduler",
    "EulerDiscreteScheduler",
)
FIELDS = ("weights", "predicts")


class Decoder:
    """Images of latents: (B, C, H, W) -> (B, 3, H', W') in about [-1, 1]."""

    def __init__(self, network: nn.Module) -> None:
        self.network = network
        self.scale = float(network.config.get("scaling_factor") or 1.0)
        self.shift = float(network.config.get("shift_factor") or 0.0)

    def __call__(self, latents: Tensor) -> Tensor:
        """Decode."""
        return self.network.decode(latents / self.scale + self.shift).sample

    def encode(self, images: Tensor) -> Tensor:
        """Latents of images in [-1, 1], the mode where there is a distribution of them."""
        found = self.network.encode(images)
        latents = found.latents if hasattr(found, "latents") else found.latent_dist.mode()
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
        return _load(hub.folder(checkpoint.uri, checkpoint.revision), checkpoint.config)
    except InputError as error:
        raise InputError(f"{label}: {error}") from None


def _check_config(checkpoint: Checkpoint, label: str) -> None:
    check_fields(checkpoint, FIELDS)
    for name, value in checkpoint.config.items():
        if value not in CHOICES[name]:
            words = ", ".join(word for word in CHOICES[name] if word)
            raise InputError(f"{label}: {name} must be one of {words}, not {value!r}")
    check_kind(checkpoint.method, checkpoint.config.get("weights"), label)


def _load(folder: Path, config: Any) -> Denoiser:
    place, said = describe(folder)
    model = component(place, said["_class_name"])
    schedule = scheduler(folder, config.get("predicts"))
    classes = _classes(said)
    latent = folder / "vae"
    decoder = Decoder(component(latent, read(latent)["_class_name"])) if latent.is_dir() else None
    size = said.get("sample_size")
    sides = tuple(size) if isinstance(size, list) else (size, size)
    if not all(isinstance(side, int) for side in sides):
        raise InputError(f"{place}/config.json: sample_size must be a number, not {size!r}")
    shape = (int(said["in_channels"]), *sides)
    timesteps = len(schedule.alphas_cumprod)
    wrapped = LabelledUNet(1, model, timesteps) if classes else PatchedUNet(1, model)
    outputs = said.get("out_channels") or said["in_channels"]
    learns = outputs == 2 * said["in_channels"]
    check_network(wrapped, shape, learns)
    variance = schedule.config.get("variance_type", "fixed_small")
    return Denoiser(
        model=wrapped,
        alpha_bar=schedule.alphas_cumprod.to(torch.float32).clone(),
        predicts=schedule.config.prediction_type,
        shape=shape,
        learns_variance=learns,
        variance=variance if variance in CHOICES["variance"] else "fixed_small",
        classes=classes,
        clips=bool(schedule.config.get("clip_sample", decoder is None)) and decoder is None,
        decode=decoder,
    )


def describe(folder: Path) -> tuple[Path, dict[str, Any]]:
    """The folder of the network, and its config.

    Raises:
        InputError: there is no network of a known kind.
    """
    for name in ("unet", "transformer", ""):
        place = folder / name
        if (place / "config.json").is_file():
            said = read(place)
            if said.get("_class_name") not in NETWORKS:
                raise InputError(
                    f"{place} holds a {said.get('_class_name')}, not one of {', '.join(NETWORKS)}"
                )
            return place, said
    raise InputError(f"{folder} holds no config.json of a network of diffusers")


def read(place: Path, name: str = "config.json") -> dict[str, Any]:
    """A JSON file of a folder.

    Raises:
        InputError: it is missing or damaged.
    """
    try:
        found = json.loads((place / name).read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise InputError(f"{place / name} cannot be read ({error})") from None
    if not isinstance(found, dict):
        raise InputError(f"{place / name} holds no description")
    return found


def component(place: Path, kind: str) -> nn.Module:
    """A network of a folder, in float32 and evaluation mode.

    Raises:
        InputError: of an unknown kind, damaged, or weights that do not fit exactly.
    """
    if kind not in (*NETWORKS, *DECODERS):
        raise InputError(f"{place} holds a {kind}, not one of {', '.join(DECODERS)}")
    try:
        with quiet_import():
            import diffusers

            model, found = getattr(diffusers, kind).from_pretrained(
                place,
                local_files_only=True,
                low_cpu_mem_usage=False,
                output_loading_info=True,
                torch_dtype=torch.float32,
            )
    # diffusers and what it reads with raise nearly every exception on damaged files.
    except Exception as error:
        reason = " ".join(f"{type(error).__name__}: {error}".split())[:200]
        raise InputError(f"{place} cannot be loaded ({reason})") from None
    for what in ("missing_keys", "unexpected_keys", "mismatched_keys", "error_msgs"):
        if found.get(what):
            first = str(next(iter(found[what])))
            raise InputError(f"weights of {place} do not fit the network: {what} {first}")
    for name, value in model.state_dict().items():
        if not torch.isfinite(value).all():
            raise InputError(f"weight {name} of {place} holds NaN or infinite values")
    return model.eval().requires_grad_(False)


def scheduler(folder: Path, predicts: str | None) -> Any:
    """The noise schedule of a folder, as a DDPM scheduler.

    Args:
        folder: of the pipeline; without a scheduler it is not known what x_t is.
        predicts: the card's word, where the folder does not have one.

    Raises:
        InputError: none there, another kind of diffusion, or a contradiction.
    """
    for place in (folder / "scheduler", folder):
        if (place / "scheduler_config.json").is_file():
            said = read(place, "scheduler_config.json")
            break
    else:
        raise InputError(f"{folder} holds no scheduler_config.json: save the whole pipeline")
    if said.get("_class_name") not in SCHEDULERS:
        raise InputError(
            f"{place} holds a {said.get('_class_name')}, whose noise is of another kind than that "
            f"of {', '.join(SCHEDULERS)}"
        )
    stated = said.get("prediction_type")
    if stated and predicts and stated != predicts:
        raise InputError(f"the card says predicts: {predicts}, {place} says {stated}")
    with quiet_import():
        from diffusers import DDPMScheduler
    return DDPMScheduler.from_config({**said, "prediction_type": stated or predicts or "epsilon"})


def _classes(said: dict[str, Any]) -> int:
    if said.get("class_embed_type"):
        raise InputError(f"class_embed_type {said['class_embed_type']!r} is not supported")
    if said["_class_name"] == "DiTTransformer2DModel":
        return int(said.get("num_embeds_ada_norm") or 1000)
    return int(said.get("num_class_embeds") or 0)
