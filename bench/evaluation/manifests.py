"""What a folder of images holds: which indices stand in which file, and the SHA-256 of each file.

    manifest.json = {"batch": B, "shards": [{"file", "first", "stop", "sha256"}, ...]}

`settle` reads it off the files before anything is scored: exactly the images that were asked for,
each index once. A file that is made again is to be what it was; where it is not, that is told, and
what was extracted of the former one is not used, as features are bound to these digests.
"""

from __future__ import annotations

import json
import sys
from dataclasses import asdict, dataclass
from itertools import chain
from typing import TYPE_CHECKING

from bench.system import artifacts

if TYPE_CHECKING:
    from bench.evaluation.resolved import ResolvedImages

NAME = "manifest.json"


@dataclass(frozen=True)
class Shard:
    """A file of images.

    Attributes:
        file: its name.
        first: index of its first image.
        stop: index after that of its last one.
        sha256: with which the file ends, of its key and content.
    """

    file: str
    first: int
    stop: int
    sha256: str


def settle(wanted: ResolvedImages) -> tuple[str, ...]:
    """Hold the files of a cell's images against what is wanted and what was there before.

    Returns:
        The SHA-256 of each file, in order.

    Raises:
        Lost: a file is gone.
        RuntimeError: the files do not hold each index from 0 on once.
    """
    batch = wanted.cell.draw.batch
    shards = []
    for path in wanted.paths:
        number = int(path.stem)
        digest = artifacts.stated(path)
        shards.append(Shard(path.name, number * batch, (number + 1) * batch, digest))
    check(shards, wanted.cell.draw.images)
    _keep(wanted, {shard.file: shard for shard in shards})
    return tuple(shard.sha256 for shard in shards)


def check(shards: list[Shard], images: int) -> None:
    """Make sure that files hold the indices 0, 1, 2, ... once each, and at least so many.

    Raises:
        RuntimeError: an image is missing, or is there twice.
    """
    indices = list(chain.from_iterable(range(shard.first, shard.stop) for shard in shards))
    if indices != list(range(len(indices))) or len(indices) < images:
        raise RuntimeError(
            f"the files of images hold {len(set(indices))} different indices of {len(indices)}, "
            f"and are to hold each of {images} once"
        )


def _keep(wanted: ResolvedImages, shards: dict[str, Shard]) -> None:
    """Add to the manifest what is not there yet, and say what differs from it."""
    path = wanted.folder / NAME
    text = artifacts.load_text(path, artifacts.bound(path))
    known = {}
    if text is not None:
        entries = [Shard(**entry) for entry in json.loads(text)["shards"]]
        known = {shard.file: shard for shard in entries}
    for name in shards.keys() & known.keys():
        if shards[name] != known[name]:
            print(
                f"bench: {wanted.folder / name} was made again and is not what it was: the "
                f"features of the former one are not used",
                file=sys.stderr,
            )
    # A folder may hold more images than this cell asks for.
    both = known | shards
    if both != known:
        listed = [asdict(both[name]) for name in sorted(both)]
        content = json.dumps({"batch": wanted.cell.draw.batch, "shards": listed}, indent=1)
        artifacts.save_text(path, artifacts.bound(path), content + "\n")
