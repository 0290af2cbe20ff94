"""CLIP score: how well an image fits the prompt that it was made from (Hessel et al. 2021).

    s = 100 max(cos(e, t), 0)

e and t are the embeddings of the image and of its prompt by CLIP, and the score of a set is the
mean of s. It is torchmetrics' `CLIPScore` (arXiv 2104.08718), which takes the maximum of the mean
alone: another number only where a cosine is negative. The paper's own has 2.5 in place of 100, and
writes "A photo depicts" before each text, which is not done here.

Images are prepared as CLIP's authors do: the shorter edge is resized to the size of the network by
Pillow's bicubic filter in uint8, with antialias, then the middle is taken. A longer prompt than
the network reads (77 tokens, first and last included) is cut off before its last token.

The network is the paper's, ViT-B/32, or the one that the user names
(`bench.measurement.features.pretrained`).
"""

from __future__ import annotations

import functools
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any
from weakref import WeakKeyDictionary

import numpy as np

from bench.core.errors import InputError, NotMeasured
from bench.core.estimates import interval
from bench.core.protocols import Evidence
from bench.core.record import Measurement
from bench.core.shards import Shards, pieces, same_sizes
from bench.measurement.features import pretrained

if TYPE_CHECKING:
    from torch import Tensor

SCALE = 100.0
NAME = "clip_score"
# Images, and texts, that the network is given at once; values of images that are read at once.
BATCH, TEXTS = 16, 64
VALUES = 1 << 26
# The longer edge of an image over the shorter one, at most.
ASPECT = 100


def prepared(images: np.ndarray, size: int) -> Tensor:
    """Network input of images of one size: uint8 (B, 1 or 3, H, W) to float32 (B, 3, size, size).

    Raises:
        NotMeasured: strips, which would not fit into the memory when they are resized.
    """
    import torch
    from PIL import Image
    from torchvision.transforms import functional

    from bench.measurement.features import vit

    height, width = images.shape[2:]
    if max(height, width) > ASPECT * min(height, width):
        raise NotMeasured(
            f"{NAME} needs images that are at most {ASPECT} times as long as they are wide, "
            f"and there are some of {width} x {height} pixels: leave it out"
        )
    parts, bicubic = [], functional.InterpolationMode.BICUBIC
    for pixels in np.broadcast_to(images, (len(images), 3, height, width)).transpose(0, 2, 3, 1):
        picture = Image.fromarray(np.ascontiguousarray(pixels))
        resized = functional.resize(picture, size, bicubic)
        parts.append(np.asarray(functional.center_crop(resized, size)))
    x = torch.from_numpy(np.stack(parts)).permute(0, 3, 1, 2).to(torch.float32) / 255
    mean, deviation = (torch.tensor(values).view(3, 1, 1) for values in vit.CLIP)
    return ((x - mean) / deviation).contiguous()


@dataclass(frozen=True, eq=False)
class Clip:
    """CLIP with its tokenizer.

    Attributes:
        network: transformers' `CLIPModel`.
        tokenizer: of the same library.
        kept: unit embeddings of sets of images that are still in use, for full precision is
            measured beside each of its tests.
    """

    network: Any
    tokenizer: Any
    kept: WeakKeyDictionary[Shards, np.ndarray] = field(default_factory=WeakKeyDictionary)

    @property
    def length(self) -> int:
        """How many tokens of a text are read, the first and the last one included."""
        return int(self.network.config.text_config.max_position_embeddings)

    def images(self, images: np.ndarray | Shards) -> np.ndarray:
        """Unit embeddings of images (N, C, H, W), float32 (N, D)."""
        if not isinstance(images, Shards):
            return self._images(images)
        if images not in self.kept:
            self.kept[images] = self._images(images)
        return self.kept[images]

    def _images(self, images: np.ndarray | Shards) -> np.ndarray:
        import torch

        size = self.network.config.vision_config.image_size
        largest = max(int(np.prod(group.shape)) for group in same_sizes(images))
        step, parts = max(1, min(BATCH, VALUES // largest)), []
        for start in range(0, len(images), BATCH):
            stop = min(start + BATCH, len(images))
            inputs = [
                prepared(piece, size)
                for first in range(start, stop, step)
                for piece in pieces(images, first, min(first + step, stop))
            ]
            with torch.inference_mode():
                seen = self.network.vision_model(pixel_values=torch.cat(inputs))
                parts.append(_unit(self.network.visual_projection(seen.pooler_output)))
        return np.concatenate(parts)

    @functools.lru_cache(maxsize=1)  # noqa: B019 - one instance lives as long as the process
    def texts(self, prompts: tuple[str, ...]) -> np.ndarray:
        """Unit embeddings of texts, float32 (N, D); those of the last ones asked for are kept."""
        import torch

        each, parts = list(dict.fromkeys(prompts)), []
        for start in range(0, len(each), TEXTS):
            tokens = self.tokenizer(
                each[start : start + TEXTS],
                padding=True,
                truncation=True,
                max_length=self.length,
                return_tensors="pt",
            )
            ids, mask = tokens["input_ids"], tokens["attention_mask"]
            if int(ids.max()) >= self.network.config.text_config.vocab_size:
                raise InputError(
                    f"the tokenizer of {pretrained.folder(NAME)} has more tokens than the "
                    f"network of texts: they are of two networks"
                )
            with torch.inference_mode():
                seen = self.network.text_model(input_ids=ids, attention_mask=mask)
                parts.append(_unit(self.network.text_projection(seen.pooler_output)))
        places = {prompt: k for k, prompt in enumerate(each)}
        return np.concatenate(parts)[[places[prompt] for prompt in prompts]]

    def too_long(self, prompts: Sequence[str]) -> int:
        """How many texts are longer than what is read of them."""
        tokens = self.tokenizer(list(prompts), truncation=False, verbose=False)["input_ids"]
        return sum(len(ids) > self.length for ids in tokens)


def _unit(embeddings: Tensor) -> np.ndarray:
    from torch.nn import functional

    unit: np.ndarray = functional.normalize(embeddings, dim=1).numpy()
    return unit


def load() -> Clip:
    """CLIP and its tokenizer, once for each identity.

    Raises:
        InputError: they are not there, damaged, or of images alone.
    """
    return _load(tuple(sorted(pretrained.with_text(NAME).items())))


@functools.lru_cache(maxsize=1)
def _load(identity: tuple[tuple[str, str], ...]) -> Clip:
    import transformers

    from bench.measurement.features import vit

    folder = pretrained.tokenizer(NAME)[0].parent
    try:
        tokenizer = transformers.CLIPTokenizer.from_pretrained(folder, local_files_only=True)
    # transformers and tokenizers raise nearly every exception on damaged files.
    except Exception as error:
        reason = " ".join(f"{type(error).__name__}: {error}".split())[:200]
        raise InputError(f"the tokenizer of {folder} cannot be loaded ({reason})") from None
    return Clip(vit.load(NAME, "CLIPModel"), tokenizer)


class ClipScore:
    """Mean CLIP score of images and their prompts, 0..100: `clip_score@N`."""

    name = NAME
    better = "higher"
    version = 1
    least = 2
    paired = False
    prompted = True
    kinds: tuple[str, ...] = ()
    needs = ""

    def __init__(self) -> None:
        self._clip = load()

    def __call__(self, evidence: Evidence) -> Measurement:
        """Measure, with the interval of the mean over images."""
        return self.measure(evidence)[0]

    def measure(self, evidence: Evidence) -> tuple[Measurement, np.ndarray]:
        """Measure; also how far each image is from the mean, (N,).

        Raises:
            InputError: there are no prompts.
        """
        if evidence.prompts is None:
            raise InputError(f"metric {self.name} needs the prompts of the images")
        e = self._clip.images(evidence.images).astype(np.float64)
        t = self._clip.texts(tuple(evidence.prompts)).astype(np.float64)
        values = SCALE * np.maximum((e * t).sum(1), 0)
        n, mean = len(values), float(values.mean())
        ends = interval(mean, values - mean)
        name = f"{self.name}@{n}"
        measured = Measurement(name, mean, *ends, n, "", self.better, self.version)
        return measured, values - mean

    def remark(self, prompts: Sequence[str]) -> str:
        """How many prompts are longer than what CLIP reads, in a line; "" where none is."""
        count = self._clip.too_long(prompts)
        if not count:
            return ""
        return (
            f"{self.name}: {count:,} of {len(prompts):,} prompts are longer than the "
            f"{self._clip.length} tokens that CLIP reads; what comes after them does not count"
        )
