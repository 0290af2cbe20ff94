"""Sets of images: what generation makes, what folders hold, and what scoring takes.

Two sets are paired image by image: by their names where images came from files, else by their
index, as images of one draw have the same noise at the same index.
"""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from bench.core.errors import InputError
from bench.core.printable import first_few, quoted
from bench.core.shards import Shards, pieces, same_sizes

# Images of which the features are extracted at once, where nothing else says how many.
BATCH = 50
# How many names a message lists.
SHOWN = 3


@dataclass(frozen=True, eq=False)
class ImageSet:
    """Images, in a fixed order.

    Attributes:
        images: uint8 (N, C, H, W), in memory or in shards on disk; H and W are None where sizes
            are mixed (`bench.core.shards.same_sizes`).
        source: where they come from, in words: a cell, a folder.
        key: names the content: two sets of one key hold the same image at the same index. What is
            made of the images is kept under it.
        names: of the images, by which they are paired; none where that is the index.
        batch: images of which the features are extracted at once, which may decide their last
            bits.
        digests: SHA-256 of each batch, to which its features are bound; none where the key
            itself is a hash of the pixels.
    """

    images: np.ndarray | Shards
    source: str
    key: str
    names: tuple[str, ...] = ()
    batch: int = BATCH
    digests: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        if self.images.dtype != np.uint8 or len(self.images.shape) != 4:
            raise ValueError(
                f"{self.source}: {self.images.dtype} {list(self.images.shape)} are no images"
            )
        if self.names and len(self.names) != len(self.images):
            raise ValueError(f"{self.source}: {len(self.names)} names, {len(self.images)} images")
        if len(set(self.names)) != len(self.names):
            raise ValueError(f"{self.source}: a name of an image is there twice")
        if self.digests and len(self.digests) != -(-len(self.images) // self.batch):
            raise ValueError(
                f"{self.source}: {len(self.digests)} digests for {len(self.images)} images in "
                f"batches of {self.batch}"
            )

    def __len__(self) -> int:
        return len(self.images)

    @classmethod
    def of(
        cls,
        images: np.ndarray | Shards,
        source: str,
        names: Sequence[str] = (),
        batch: int = BATCH,
    ) -> ImageSet:
        """Images made elsewhere; the key is the SHA-256 of their shape, names and pixels."""
        digest = hashlib.sha256(repr((images.shape, tuple(names))).encode())
        for start in range(0, len(images), batch):
            digest.update(np.ascontiguousarray(images[start : start + batch]).data)
        return cls(images, source, digest.hexdigest()[:32], tuple(names), batch)


@dataclass(frozen=True)
class RealSplit:
    """Real images by the data set and split that they are of; their features are kept files."""

    dataset: str
    split: str = "test"

    def __str__(self) -> str:
        return f"{self.dataset} ({self.split})"


def equal_pairs(test: ImageSet, reference: ImageSet) -> int:
    """How many images equal their partners bit for bit, of sets that pair up."""
    count = 0
    for start in range(0, len(test), test.batch):
        stop = min(start + test.batch, len(test))
        pairs = zip(*(pieces(s.images, start, stop) for s in (test, reference)), strict=True)
        count += sum(int((a == b).all((1, 2, 3)).sum()) for a, b in pairs)
    return count


def require_pairs(test: ImageSet, reference: ImageSet) -> None:
    """Make sure that each image of a set has its partner in the other one, at the same index.

    Raises:
        InputError: they have other names, are of another number or of another shape.
    """
    if test.names != reference.names:
        alone = sorted(set(test.names) ^ set(reference.names))
        shown = first_few(alone, SHOWN, quoted)
        reason = f"no partner have {shown}" if alone else "their names are in another order"
        raise InputError(f"{test.source} and {reference.source} do not pair up: {reason}")
    if same_sizes(test.images) != same_sizes(reference.images):
        raise InputError(
            f"{test.source} and {reference.source} do not pair up: images of shape "
            f"{list(test.images.shape)} and {list(reference.images.shape)}"
        )
