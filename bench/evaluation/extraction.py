"""Features of images, batch by batch: kept ones, else extracted and kept.

images of a batch -> (B, D), in a file that names the place of the batch and its bits
"""

from __future__ import annotations

import functools
from collections.abc import Callable, Iterable, Mapping
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from bench.core import extensions
from bench.core.progress import Progress, Steps
from bench.system import artifacts, claims
from bench.system.timing import Stopwatch

# The images of a batch, those of each size together, uint8 (B, C, H, W).
Read = Callable[[], Iterable[np.ndarray]]


@dataclass(frozen=True)
class Place:
    """Where the features of a set of images by an extractor are kept."""

    extractor: str
    key: str
    folder: Path

    @classmethod
    def of(cls, cache: Path, key: str, extractor_name: str) -> Place:
        """The place in a cache, of features with a key."""
        return cls(extractor_name, key, cache / "features" / key / extractor_name)

    def path(self, k: int, count: int, digest: str = "") -> Path:
        """The file of batch k, of so many images.

        Args:
            k: number of the batch.
            count: of its images.
            digest: SHA-256 of the images; "" where the key itself is a hash of them.
        """
        of = f"-{digest[:16]}" if digest else ""
        return self.folder / f"{k:05d}-{count}{of}.npy"


def make(
    place: Place,
    batches: Mapping[Path, Read],
    source: str,
    watch: Stopwatch,
    waits: bool = True,
) -> Steps[None]:
    """Extract the features of batches that are missing.

    Args:
        place: where they are kept.
        batches: how the images of each are read, by the file of the features.
        source: whose images they are.
        watch: counts the time of the stage features.
        waits: whether to see to it that those are made, too, that other processes are at.
    """
    is_kept = functools.partial(_is_kept, key=place.key)
    with closing(claims.shared([*batches], is_kept, waits)) as missing:
        for _, path in missing:
            yield Progress(source, "features")
            shard = [
                watch.timed("features", _extracted, place.extractor, images)
                for images in batches[path]()
            ]
            artifacts.save_array(path, f"{place.key} {path.name}", np.concatenate(shard))


def _is_kept(path: Path, key: str) -> bool:
    """Whether the features of a batch are kept, whole."""
    shape = (int(path.stem.split("-")[1]), None)
    return artifacts.load_array(path, f"{key} {path.name}", shape, np.float32) is not None


def _extracted(extractor_name: str, images: np.ndarray) -> np.ndarray:
    """The features of a batch, float32 (B, D)."""
    import torch

    features = extractor(extractor_name)(torch.from_numpy(images)).numpy()
    if features.ndim != 2 or len(features) != len(images):
        raise RuntimeError(
            f"extractor {extractor_name} gave {list(features.shape)} for {len(images)} images"
        )
    return features.astype(np.float32, copy=False)


@functools.cache
def extractor(name: str) -> Any:
    """The extractor of a name, with its weights."""
    return extensions.lookup("extractors", name)()
