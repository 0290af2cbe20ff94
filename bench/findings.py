"""What differs between two cells of one name besides their numbers.

A changed kernel, coverage or protocol is a finding of its own: it may explain a number, hide one,
or make two numbers no longer comparable. What may change without meaning anything for quality
(host, versions, seed) is a note.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from bench.record import Coverage, Record

PROTOCOL = ("sampler", "steps", "eta", "spacing", "dtype", "images")
NOISE = (*PROTOCOL, "seed")
# Numbers of such cells mean different things.
INCOMPARABLE = ("kernel", "protocol", "dataset", "reference")
KINDS = ("weights", "coverage", "inert", *INCOMPARABLE, "version", "missing")


@dataclass(frozen=True)
class Finding:
    """A difference: `kind` is one of KINDS, `text` says what was and what is."""

    kind: str
    text: str


def findings(base: Record, head: Record) -> list[Finding]:
    """The differences between two measured cells that somebody must look at."""
    found = [*_asked(base, head), *_executed(base.coverage, head.coverage), *_real(base, head)]
    if _is_inert(head) and not _is_inert(base):
        found.append(Finding("inert", "every image equals its full-precision twin in HEAD"))
    return found


def notes(base: Record, head: Record) -> list[str]:
    """The differences that are only said."""
    found = []
    if base.cell.draw.seed != head.cell.draw.seed:
        seeds = base.cell.draw.seed, head.cell.draw.seed
        found.append("seed {} → {}: other noise, compared as independent".format(*seeds))
    if base.cell.draw.batch != head.cell.draw.batch:
        found.append(f"batch {base.cell.draw.batch} → {head.cell.draw.batch}")
    for name in ("name", "device", "isa", "threads"):
        was, now = getattr(base.host, name), getattr(head.host, name)
        if was != now:
            found.append(f"host {name} {was} → {now}")
    versions = dict(base.host.versions), dict(head.host.versions)
    for name in sorted({*versions[0], *versions[1]}):
        was, now = (found_there.get(name, "missing") for found_there in versions)
        if was != now:
            found.append(f"{name} {was} → {now}")
    return found


def same_noise(base: Record, head: Record) -> bool:
    """Whether image i of both cells was made from the same random numbers in the same way."""
    draws = base.cell.draw, head.cell.draw
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
    if old.scheme != new.scheme:
        yield Finding("protocol", f"{old.scheme.explain()} → {new.scheme.explain()}")


def _executed(base: Coverage | None, head: Coverage | None) -> Iterator[Finding]:
    if base is None or head is None:
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


def _is_inert(record: Record) -> bool:
    """Whether a quantized cell's features are those of full precision, bit for bit.

    A quantizer that does nothing loses nothing: no number would tell, and all would look better.
    """
    changes = [m for m in record.measurements if m.name.startswith("delta_")]
    return bool(changes) and all(m.value == m.low == m.high == 0 for m in changes)


def _real(base: Record, head: Record) -> Iterator[Finding]:
    for name in sorted({*base.real} & {*head.real}):
        if base.real[name] != head.real[name]:
            hashes = f"{base.real[name][:12]} → {head.real[name][:12]}"
            yield Finding("reference", f"other real images' features of {name}, SHA-256 {hashes}")
