"""What is known of images that bench did not make, as it stands in the record of a cell.

Folders of images have no weights and no network: which sets they are is told by hashes of their
pixels, what made them by what the user says.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

# The name of the backend and of the source of images that were not made here, and of a data set
# where nothing was compared with real images.
BACKEND, SOURCE, UNKNOWN = "elsewhere", "images", "none"
# The backend of images that the user names as the noise floor.
FLOOR = f"{BACKEND}:floor"
ROW = "images from elsewhere"


@dataclass(frozen=True)
class Elsewhere:
    """A set of images that was read, not made.

    Attributes:
        sha256: of the names and pixels of all images that were scored, in their order.
        names: SHA-256 of the names alone: runs of equal ones are paired image by image.
        sizes: number of images by width x height, as {"512x512": 1000}.
        left_out: number of names that were not scored, by reason.
        examples: the first few names that were left out, by reason.
        kernel: what executed the network, as the user says; "" where nothing was said.
        note: whatever the user notes, "" for nothing.
        prompts: SHA-256 of the texts that the images were made from, in the order of the images;
            "" where none were given and in older runs.
    """

    sha256: str
    names: str
    sizes: Mapping[str, int]
    left_out: Mapping[str, int] = field(default_factory=dict)
    examples: Mapping[str, tuple[str, ...]] = field(default_factory=dict)
    kernel: str = ""
    note: str = ""
    prompts: str = ""
