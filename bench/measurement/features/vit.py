"""Features of two vision transformers: DINOv2 for FD-DINOv2, CLIP for CMMD.

    dinov2   class token after the last layer norm (Stein et al. 2023, dgm-eval)
    clip     image embedding e / |e| (Jayasumana et al. 2024)

Both papers' code resizes by Pillow's bicubic filter in uint8, with antialias, then takes
(x / 255 - mean) / deviation by channel: to 224 x 224 for DINOv2, whatever the aspect; the central
square to the network's own size, 336 x 336, for CLIP.

DINOv2 was published for 37 x 37 patches. Its authors' code makes the embeddings of 16 x 16
positions by bicubic interpolation with the scale (16 + 0.1) / 37; that of transformers drops
the 0.1, so it is done here once, as the authors do.
"""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import torch
from PIL import Image
from torch import Tensor, nn
from torch.nn import functional

from bench.core.errors import InputError
from bench.measurement.features import pretrained
from bench.system.quiet import quiet_import

DINOV2_SIZE = 224
OFFSET = 0.1
IMAGENET = ((0.485, 0.456, 0.406), (0.229, 0.224, 0.225))
CLIP = (
    (0.48145466, 0.4578275, 0.40821073),
    (0.26862954, 0.26130258, 0.27577711),
)


def load(extractor: str, kind: str) -> Any:
    """The network of an extractor in float32 and evaluation mode, every weight present.

    Args:
        extractor: name of the extractor whose network is loaded.
        kind: name of its class in transformers.

    Raises:
        InputError: transformers is missing, or the files do not fit.
    """
    pretrained.versions(extractor)
    pretrained.configuration(extractor)
    import transformers

    weights = pretrained.files(extractor)[1]
    folder, before = weights.parent, transformers.logging.get_verbosity()
    transformers.logging.set_verbosity_error()
    transformers.logging.disable_progress_bar()
    with quiet_import():
        network_class = getattr(transformers, kind)
    try:
        network, report = network_class.from_pretrained(
            folder,
            local_files_only=True,
            use_safetensors=weights.suffix == ".safetensors",
            dtype=torch.float32,
            attn_implementation="eager",
            output_loading_info=True,
        )
    # transformers and safetensors raise nearly every exception on damaged files.
    except Exception as error:
        reason = " ".join(f"{type(error).__name__}: {error}".split())[:200]
        raise InputError(f"{folder} cannot be loaded ({reason})") from None
    finally:
        transformers.logging.set_verbosity(before)
        transformers.logging.enable_progress_bar()
    for what in ("missing_keys", "mismatched_keys"):
        if report.get(what):
            first = str(min(map(str, report[what])))
            raise InputError(f"weights of {folder} do not fit the network: {what} {first}")
    for name, value in network.state_dict().items():
        if not torch.isfinite(value).all():
            raise InputError(f"weight {name} of {folder} holds NaN or infinite values")
    return network.eval().requires_grad_(False)


def prepare(images: Tensor, size: int, scale: tuple[tuple[float, ...], ...], crop: bool) -> Tensor:
    """Network input of images: uint8 (B, 1 or 3, H, W) to float32 (B, 3, size, size).

    Args:
        scale: means and deviations of the channels, of values in [0, 1].
        crop: whether only the central square is taken.
    """
    height, width = images.shape[2:]
    box = None
    if crop:
        side = min(height, width)
        top, left = (height - side) // 2, (width - side) // 2
        box = (left, top, left + side, top + side)
    parts = []
    for image in images.expand(-1, 3, -1, -1).permute(0, 2, 3, 1).numpy():
        picture = Image.fromarray(np.ascontiguousarray(image))
        if box:
            picture = picture.crop(box)
        parts.append(np.asarray(picture.resize((size, size), Image.Resampling.BICUBIC)))
    x = torch.from_numpy(np.stack(parts)).permute(0, 3, 1, 2).to(torch.float32) / 255
    mean, deviation = (torch.tensor(values).view(3, 1, 1) for values in scale)
    return ((x - mean) / deviation).contiguous()


def resized_positions(positions: Tensor, side: int) -> Tensor:
    """Embeddings of side x side patches, as DINOv2's authors interpolate them.

    Args:
        positions: embeddings of the class token, then of the patches by rows, (1, 1 + M^2, D).
        side: patches along an edge.

    Returns:
        (1, 1 + side^2, D).
    """
    grid = math.isqrt(positions.shape[1] - 1)
    if grid == side:
        return positions
    square = positions[:, 1:].unflatten(1, (grid, grid)).permute(0, 3, 1, 2)
    factor = (side + OFFSET) / grid
    resized = functional.interpolate(square, scale_factor=(factor, factor), mode="bicubic")
    return torch.cat([positions[:, :1], resized.flatten(2).transpose(1, 2)], dim=1)


def _check(images: Tensor) -> None:
    if images.dtype != torch.uint8 or images.ndim != 4 or images.shape[1] not in (1, 3):
        shape = tuple(images.shape)
        raise InputError(f"features need uint8 (B, 1 or 3, H, W), not {images.dtype} {shape}")


class Dinov2:
    """The extractor `dinov2`: uint8 (B, 1 or 3, H, W) to float32 (B, dim), 1024 of ViT-L/14."""

    name = "dinov2"
    version = pretrained.Version()
    dim = pretrained.Dimension()

    def __init__(self) -> None:
        self._network = load(self.name, "Dinov2Model")
        patch = self._network.config.patch_size
        if DINOV2_SIZE % patch:
            raise InputError(f"patches of {patch} pixels do not divide {DINOV2_SIZE}")
        kept = self._network.embeddings
        positions = resized_positions(kept.position_embeddings, DINOV2_SIZE // patch)
        kept.position_embeddings = nn.Parameter(positions, requires_grad=False)

    @torch.inference_mode()
    def __call__(self, images: Tensor) -> Tensor:
        """Extract.

        Raises:
            InputError: not uint8, or not of one (grey) or three (RGB) channels.
        """
        _check(images)
        x = prepare(images, DINOV2_SIZE, IMAGENET, crop=False)
        return self._network(pixel_values=x).pooler_output


class Clip:
    """The extractor `clip`: uint8 (B, 1 or 3, H, W) to float32 unit vectors (B, dim), 768 of
    ViT-L/14."""

    name = "clip"
    version = pretrained.Version()
    dim = pretrained.Dimension()

    def __init__(self) -> None:
        self._network = load(self.name, "CLIPVisionModelWithProjection")
        self._size = self._network.config.image_size

    @torch.inference_mode()
    def __call__(self, images: Tensor) -> Tensor:
        """Extract.

        Raises:
            InputError: not uint8, or not of one (grey) or three (RGB) channels.
        """
        _check(images)
        x = prepare(images, self._size, CLIP, crop=True)
        return functional.normalize(self._network(pixel_values=x).image_embeds, dim=1)
