"""`bench reference` and `bench fetch`: reference features, statistics files and downloads."""

from __future__ import annotations

import shutil
import sys
import urllib.request
from collections.abc import Callable, Sequence
from pathlib import Path

from bench.core import distances, extensions
from bench.core.errors import InputError
from bench.core.protocols import Statistics
from bench.measurement.features import moments, reference, statistics_files
from bench.system import disk

SPATIAL, POOLED = "inception-spatial", "inception-legacy-tensorflow"


def make(dataset: str, extractor: str, split: str) -> None:
    """Make the reference features of a data set in the cache; print the file.

    Raises:
        InputError: unknown names, no data, or no weights of the extractor.
    """
    _check(dataset, extractor)
    print(reference.build(dataset, extractor, split=split))


def take(source: Path, dataset: str, extractor: str, split: str) -> None:
    """Take someone's statistics as those of a data set; print the file.

    Raises:
        InputError: no statistics, those of another extractor, or features that are there already.
    """
    _check(dataset, extractor)
    statistics = statistics_files.read(source, extractor)
    target = reference.folder() / reference.file_name(dataset, extractor, split)
    for path in (reference.ZOO / target.name, target):
        if path.exists():
            raise InputError(f"{path} holds the features themselves: statistics are not needed")
    statistics_files.write(target.with_suffix(".npz"), {extractor: statistics}, dataset)
    print(target.with_suffix(".npz"))


def give(target: Path, dataset: str, extractors: Sequence[str], split: str) -> None:
    """Write statistics that clean-fid, pytorch-fid and, with spatial ones, ADM's evaluator read.

    Raises:
        InputError: there are no reference features, or two extractors that no file holds together.
    """
    if len(extractors) > 1 and set(extractors) != {SPATIAL, POOLED}:
        raise InputError(
            f"one file holds the statistics of one extractor, or of {POOLED} and {SPATIAL} for "
            f"ADM's evaluator"
        )
    if target.suffix != ".npz":
        raise InputError(f"--to {target}: statistics are a file .npz")
    by_extractor = {}
    for extractor in extractors:
        _check(dataset, extractor)
        path = reference.find(dataset, extractor, split)
        if path.suffix == ".npz":
            by_extractor[extractor] = statistics_files.read(path, extractor)
        else:
            values = reference.load(dataset, extractor, split).values
            by_extractor[extractor] = Statistics(*moments.statistics(values), len(values))
    statistics_files.write(target, by_extractor, dataset)
    print(target)


def _check(dataset: str, extractor: str) -> None:
    extensions.require("datasets", dataset)
    extensions.require("extractors", extractor)
    if distances.kind(extractor) == "classes":
        raise InputError(f"{extractor} has no reference: the score needs no real images")


def fetch(what: str) -> None:
    """Download the files of a name into the cache; print them.

    Raises:
        InputError: nothing of that name, no network, or other content than published.
    """
    if what not in FETCHED:
        raise InputError(f"nothing to fetch named {what!r}: choose {', '.join(FETCHED)}")
    for target, url, digest in FETCHED[what]():
        if not target.is_file() or disk.sha256(target) != digest:
            print(f"fetching {url}", file=sys.stderr)
            _download(url, target, digest)
        print(target)


def _inception() -> list[tuple[Path, str, str]]:
    from bench.measurement.features import inception

    folder = disk.cache_root() / "weights"
    return [(folder / n, url, inception.SHA256[n]) for n, url in inception.URLS.items()]


def _fashion_mnist() -> list[tuple[Path, str, str]]:
    from bench.measurement.data import fashion_mnist

    folder = disk.cache_root() / "data" / "fashion-mnist"
    return [(folder / n, fashion_mnist.SOURCE + n, h) for n, h in fashion_mnist.SHA256.items()]


def _backbone(name: str) -> Callable[[], list[tuple[Path, str, str]]]:
    def files() -> list[tuple[Path, str, str]]:
        from bench.measurement.metrics import backbones

        file = backbones.FILES[name]
        folder = disk.cache_root() / "weights"
        return [(folder / file.name, backbones.SOURCE + file.name, file.digest)]

    return files


# Downloads by name: (target, address, SHA-256) of their files.
FETCHED = {
    "inception": _inception,
    "fashion-mnist": _fashion_mnist,
    "lpips": _backbone("alexnet"),
    "lpips_vgg": _backbone("vgg16"),
    "dists": _backbone("vgg16"),
}


def _download(url: str, target: Path, digest: str) -> None:
    with disk.atomic(target) as temporary:
        try:
            with urllib.request.urlopen(url, timeout=30) as source, temporary.open("wb") as sink:
                shutil.copyfileobj(source, sink)
        # Errors of a network have many classes, all of them subclasses of OSError.
        except OSError as error:
            raise InputError(
                f"cannot fetch {url} ({error}): fetch it where there is a network and put it at "
                f"{target}"
            ) from None
        sha256 = disk.sha256(temporary)
        if sha256 != digest:
            raise InputError(
                f"{url} gave a file of SHA-256 {sha256[:12]}..., not {digest[:12]}...: not kept"
            )
