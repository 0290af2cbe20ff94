"""The keys under which a cell's images, features and record are kept.

A key is a hash of everything that decides the result: the content of the checkpoint, the scheme,
the draw, the device, the versions of libraries, the code (`bench.evaluation.closure`: the module
that does the work, each extension that the cell names, and all that these import), and what
extensions say of themselves (`bench.core.extensions.identity`: their package, its version, their
weights).
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import asdict, replace
from typing import Any

from bench.core import extensions
from bench.core.cell import PIPELINE, Cell, Checkpoint, content_key
from bench.core.record import Host
from bench.core.scheme import Scheme
from bench.core.tables import OF_FILES
from bench.evaluation.closure import code_hash
from bench.system.host import library_versions

# The modules that make images, features and records; the code of a key begins at them.
IMAGES, FEATURES, RECORDS = (
    "bench.evaluation.generation",
    "bench.evaluation.scoring",
    "bench.evaluation.pipeline",
)
PROBES = "bench.evaluation.checkpoint_context"
FITS = "bench.evaluation.fits"
# The extractor and the metric that probes take.
QUALITY = "efficientnet", "kernel"
# Numbers of the libraries that only features and metrics use do not change images.
IMAGE_LIBRARIES = ("torch", "torchao", "diffusers", "cuda", "cudnn")
FEATURE_LIBRARIES = (*IMAGE_LIBRARIES, "torchvision")

# An extension by table and name.
Entry = tuple[str, str]


def image_entries(cell: Cell) -> list[Entry]:
    """The extensions that make the images of a cell."""
    # A pipeline samples by its own scheduler.
    sampled = [("samplers", cell.draw.sampler)] if cell.draw.sampler != PIPELINE else []
    return [
        ("sources", cell.checkpoint.source),
        *sampled,
        ("backends", cell.backend),
        *methods(cell),
    ]


def methods(cell: Cell) -> list[Entry]:
    """The methods of a cell's scheme."""
    return [("methods", name) for name in cell.scheme.methods]


def record_entries(cell: Cell) -> list[Entry]:
    """All extensions that a cell's numbers rest on, those of its twin and simulation included."""
    entries = [*image_entries(cell), *image_entries(cell.reference)]
    entries += [("extractors", name) for name in cell.extractors]
    entries += [("metrics", name) for name in cell.metrics]
    if needs_simulation(cell):
        entries += image_entries(cell.simulation)
    return list(dict.fromkeys(entries))


def needs_simulation(cell: Cell) -> bool:
    """Whether a metric of the cell compares with the images of the simulation."""
    metrics = [extensions.lookup("metrics", name) for name in cell.metrics]
    # Paired metrics are left out for the reference.
    measured = [metric for metric in metrics if not (metric.paired and cell.is_reference)]
    return any(getattr(metric, "simulated", False) for metric in measured)


def of_images(cell: Cell, host: Host) -> str:
    """The key of a cell's images, which does not depend on how many there are."""
    draw = {name: value for name, value in asdict(cell.draw).items() if name != "images"}
    return content_key(
        checkpoint=cell.checkpoint.content(),
        scheme=asdict(_content(cell.scheme)),
        backend=cell.backend,
        draw=draw,
        versions=_versions(host, _image_libraries(cell), IMAGES, image_entries(cell)),
    )


def of_calibration(cell: Cell, host: Host) -> str:
    """The key of what the calibration of a cell leads to, the same for all backends."""
    draw = {name: value for name, value in asdict(cell.draw).items() if name != "images"}
    # The simulation's code, whatever the backend: it executes the graph as it is.
    entries = image_entries(replace(cell, backend="simulated"))
    return content_key(
        checkpoint=cell.checkpoint.content(),
        scheme=asdict(_content(cell.scheme)),
        draw=draw,
        versions=_versions(host, _image_libraries(cell), IMAGES, entries),
    )


def of_features(images: str, extractor: str, host: Host) -> str:
    """The key of the features of images, of which `images` is the key."""
    return content_key(
        images=images,
        extractor=extractor,
        versions=_versions(host, FEATURE_LIBRARIES, FEATURES, [("extractors", extractor)]),
    )


def of_record(cell: Cell, host: Host, real: Mapping[str, str]) -> str:
    """The key of a cell's record; `real` has the digests of real features by extractor."""
    versions = _versions(host, host.versions, RECORDS, record_entries(cell))
    cell = replace(cell, scheme=_content(cell.scheme))
    return cell.key(versions | {f"real {name}": digest for name, digest in real.items()})


def of_probe(card: Checkpoint, probe: str, wanted: Mapping[str, Any], host: Host) -> str:
    """The key of a part of a probe; `wanted` says which part, and all that it is asked for."""
    entries = [
        ("sources", card.source),
        ("probes", probe),
        ("datasets", card.dataset),
        ("samplers", wanted["draw"]["sampler"]),
        ("backends", wanted["backend"]),
        # By these a probe measures quality, and likeness of what it samples.
        ("extractors", QUALITY[0]),
        ("metrics", QUALITY[1]),
    ]
    for scheme in wanted.get("schemes", ()):
        entries += [("methods", name) for name in scheme["methods"]]
    return content_key(
        checkpoint=card.content(),
        dataset=card.dataset,
        probe=probe,
        wanted=wanted,
        versions=_versions(host, host.versions, PROBES, entries),
    )


def of_fit(card: Checkpoint, images: str) -> str:
    """The key of the check whether a checkpoint's description fits its weights; `images` is the
    digest of real images whose data set's name does not tell what they are."""
    entries = [("sources", card.source), ("datasets", card.dataset)]
    return content_key(
        checkpoint=card.content(),
        dataset=card.dataset,
        images=images,
        versions=library_versions() | {"code": code(FITS, entries)} | identities(entries),
    )


def _image_libraries(cell: Cell) -> tuple[str, ...]:
    """The libraries that make the images of a cell; under a budget scipy allocates the bits."""
    return (*IMAGE_LIBRARIES, "scipy") if cell.scheme.budget else IMAGE_LIBRARIES


def identities(entries: Iterable[Entry]) -> dict[str, str]:
    """What extensions say of themselves, as texts by "table name what"; keys and runs hold it."""
    texts: dict[str, str] = {}
    for table, name in entries:
        for what, text in extensions.identity(table, name).items():
            said = texts.setdefault(f"{table} {extensions.plain(name)} {what}", text)
            # Two schemes of a probe may have methods of two files.
            if text not in said.split(", "):
                texts[f"{table} {extensions.plain(name)} {what}"] = f"{said}, {text}"
    return texts


def _content(scheme: Scheme) -> Scheme:
    """The scheme with the content of files in place of their paths, which decide nothing."""
    return replace(scheme, methods=tuple(map(_by_content, scheme.methods)))


def _by_content(method: str) -> str:
    name, _, argument = method.partition(":")
    if name not in OF_FILES:
        return method
    _, suffix, function = argument.partition(".py:")
    return f"{name}:{extensions.identity('methods', method)['sha256']}{suffix}{function}"


def code(root: str, entries: Iterable[Entry]) -> str:
    """The hash of a module and of extensions, with all that they import."""
    return code_hash([root, *(extensions.module(table, name) for table, name in entries)])


def _versions(
    host: Host, libraries: Iterable[str], root: str, entries: Iterable[Entry]
) -> dict[str, str]:
    installed = {name: host.versions.get(name, "") for name in libraries}
    entries = list(entries)
    return {**host.arithmetic, **installed, "code": code(root, entries), **identities(entries)}
