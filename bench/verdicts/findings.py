"""Differences between two cells of one name besides their numbers.

A changed kernel, coverage or protocol is a finding of its own: it may explain a number, hide one,
or make two numbers no longer comparable. A change that means nothing for quality (host, libraries,
seed) is a note.

Besides the versions of libraries a record has those of what makes its numbers: an extractor with
its weights, a metric or sampler of another package. If one of these changed, or is missing where
BASE had one, that is a finding.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from bench.core.record import Coverage, Record
from bench.verdicts import unchanged

GUIDANCE = ("guidance", "guided_from", "guided_to")
PROTOCOL = ("sampler", "steps", "eta", "spacing", *GUIDANCE, "dtype", "images")
NOISE = (*PROTOCOL, "seed")
# Findings that make the numbers of two cells mean different things.
INCOMPARABLE = ("kernel", "protocol", "dataset", "reference")
# Reasons why a gating number cannot be compared; see `bench.verdicts.matching`.
OBSTACLES = ("version", "unit", "undefined", "interval", "threshold", "missing", "refused")
KINDS = ("weights", "coverage", "inert", *INCOMPARABLE, "extractor", *OBSTACLES)
# Libraries: to compare two versions of them is what a comparison is for.
LIBRARIES = (
    "python",
    "torch",
    "torchao",
    "diffusers",
    "torchvision",
    "transformers",
    "numpy",
    "scipy",
    "pillow",
    "safetensors",
    "cuda",
    "cudnn",
)
# PSNR that equal images are given.
EXACT = 100.0
MISSING = "missing"


@dataclass(frozen=True)
class Finding:
    """A difference: `kind` is one of KINDS, `text` names the old and the new value."""

    kind: str
    text: str


def findings(base: Record, head: Record) -> list[Finding]:
    """The differences between two measured cells that somebody must look at."""
    differences = [
        *_asked(base, head),
        *_executed(base.coverage, head.coverage),
        *_real(base, head),
    ]
    differences += _makers(base, head)
    if not _is_inert(base) and (text := _inert(head)):
        differences.append(Finding("inert", text))
    return differences


def notes(base: Record, head: Record) -> list[str]:
    """The differences that are only noted."""
    said = []
    if base.cell.draw.seed != head.cell.draw.seed:
        seeds = base.cell.draw.seed, head.cell.draw.seed
        said.append("seed {} → {}: other noise, compared as independent".format(*seeds))
    said += _elsewhere(base, head)
    if _is_inert(base) and (text := _inert(head)):
        said.append(f"{text}; in BASE too")
    if base.cell.draw.batch != head.cell.draw.batch:
        said.append(f"batch {base.cell.draw.batch} → {head.cell.draw.batch}")
    for name in ("name", "device", "isa", "threads"):
        was, now = getattr(base.host, name), getattr(head.host, name)
        if was != now:
            said.append(f"host {name} {was} → {now}")
    for name, was, now in _versions(base, head):
        if name in LIBRARIES or was == MISSING:
            said.append(f"{name} {was} → {now}")
    if not base.real and head.real:
        said.append("BASE does not say which real images it took")
    return said


def _elsewhere(base: Record, head: Record) -> Iterator[str]:
    """What differs in images from elsewhere. A kernel is what the user states of it, in words that
    may name a version: such a change is what a comparison is for."""
    if base.elsewhere is None or head.elsewhere is None:
        return
    was, now = (each.kernel or "none" for each in (base.elsewhere, head.elsewhere))
    if was != now:
        yield f"stated kernel {was} → {now}"
    if base.elsewhere.names != head.elsewhere.names:
        yield "other names of pictures: compared as independent"


def same_noise(base: Record, head: Record) -> bool:
    """Whether image i of both cells was made from the same random numbers in the same way."""
    draws = base.cell.draw, head.cell.draw
    if base.elsewhere and head.elsewhere and base.elsewhere.names != head.elsewhere.names:
        return False
    return all(getattr(draws[0], name) == getattr(draws[1], name) for name in NOISE)


def _asked(base: Record, head: Record) -> Iterator[Finding]:
    old, new = base.cell, head.cell
    if old.checkpoint.content() != new.checkpoint.content():
        was, now = old.checkpoint.sha256, new.checkpoint.sha256
        text = f"SHA-256 {was[:12] or 'none'} → {now[:12] or 'none'}"
        yield Finding("weights", text if was != now else "network of other structure")
    if old.checkpoint.dataset != new.checkpoint.dataset:
        yield Finding("dataset", f"{old.checkpoint.dataset} → {new.checkpoint.dataset}")
    for name in PROTOCOL:
        was, now = getattr(old.draw, name), getattr(new.draw, name)
        if was != now:
            yield Finding("protocol", f"{name} {was} → {now}")
    if base.elsewhere and head.elsewhere and base.elsewhere.names == head.elsewhere.names:
        was, now = base.elsewhere.prompts, head.elsewhere.prompts
        if was and now and was != now:
            yield Finding("protocol", f"prompts SHA-256 {was[:12]} → {now[:12]}")
    if old.scheme != new.scheme:
        yield Finding("protocol", f"{old.scheme.explain()} → {new.scheme.explain()}")


def _executed(base: Coverage | None, head: Coverage | None) -> Iterator[Finding]:
    if base is None or head is None:
        if base is not head:
            side = "BASE" if base is None else "HEAD"
            yield Finding("coverage", f"{side} does not say what executed")
        return
    if base.kernel != head.kernel:
        yield Finding("kernel", f"{base.kernel} → {head.kernel}")
    if base.share != head.share:
        shares = f"{base.share:.2%} → {head.share:.2%}"
        yield Finding("coverage", f"{shares} of the multiply-accumulates quantized")
    elif dict(base.macs_by_bits) != dict(head.macs_by_bits):
        yield Finding("coverage", f"{_bits(base)} → {_bits(head)}")


def _bits(coverage: Coverage) -> str:
    shares = {name: count / coverage.macs for name, count in coverage.macs_by_bits.items()}
    return ", ".join(f"{name} {share:.1%}" for name, share in shares.items())


def _inert(record: Record) -> str:
    """That quantization did nothing, or not to a share of the images; "" where it acted."""
    if told := unchanged.told(record):
        return f"in HEAD {told}"
    return "every image equals its full-precision twin in HEAD" if _is_inert(record) else ""


def _is_inert(record: Record) -> bool:
    """Whether a quantized cell's images are those of full precision, bit for bit; in runs that
    did not count them, whether its features are.

    A quantizer that does nothing loses nothing: no number would tell, and all would look better.
    Shares (recall ...) may stay though the images moved, so PSNR and FD to the twins count too.
    """
    if record.equal is not None:
        return bool(unchanged.told(record))
    changes = [m for m in record.measurements if m.name.startswith("delta_")]
    if not changes or any(m.value or m.low or m.high for m in changes):
        return False
    likeness = record.measurement("psnr")
    apart = [m for m in record.measurements if m.name.startswith("fd_twin_")]
    moved = likeness is not None and likeness.value < EXACT
    return not moved and not any(m.value > 0 for m in apart)


def _real(base: Record, head: Record) -> Iterator[Finding]:
    if base.cell.real != head.cell.real:
        text = f"real images of the split {base.cell.real} → {head.cell.real}"
        yield Finding("reference", text)
    for name in sorted(base.real):
        was, now = base.real[name][:12], head.real.get(name, "unknown")[:12]
        if base.real[name] != head.real.get(name):
            text = f"other real images' features of {name}, SHA-256 {was} → {now}"
            yield Finding("reference", text)


def _makers(base: Record, head: Record) -> Iterator[Finding]:
    """Changed versions of what makes the numbers; an older BASE may not have recorded them."""
    for name, was, now in _versions(base, head):
        if name not in LIBRARIES and was != MISSING:
            yield Finding("extractor", f"{name} {was} → {now}")


def _versions(base: Record, head: Record) -> Iterator[tuple[str, str, str]]:
    """(name, in BASE, in HEAD) of all versions that differ."""
    versions = dict(base.host.versions), dict(head.host.versions)
    for name in sorted({*versions[0], *versions[1]}):
        was, now = (there.get(name, MISSING) for there in versions)
        if was != now:
            yield name, was, now
