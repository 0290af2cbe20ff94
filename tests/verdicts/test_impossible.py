"""The gate never passes what it could not compare: every way in which a comparison of a number
that gates can be impossible ends with another code than 0, and says why. Honest repetitions pass.
"""

from __future__ import annotations

import dataclasses
import math
from dataclasses import replace

import numpy as np
import pytest
from helpers.gates import altered, made, side

from bench.verdicts import comparison
from bench.verdicts.findings import KINDS
from bench.verdicts.thresholds import Threshold, load

LIMITS = load()
NAN = float("nan")


def numbers(of, metric="psnr", **fields):
    """The side with fields of one number changed; a callable is given the number."""

    def change(m):
        if m.name.split("@")[0] != metric:
            return m
        found = {name: f(m) if callable(f) else f for name, f in fields.items()}
        return replace(m, **found)

    return made(of, change)


def records(of, change):
    """The side with `change` (Record -> Record or None) applied to quantized records."""
    kept = [r if r.cell.scheme.is_float else change(r) for r in of.run.records]
    return replace(of, run=replace(of.run, records=tuple(r for r in kept if r)))


def everything(of, change):
    kept = [change(r) for r in of.run.records]
    return replace(of, run=replace(of.run, records=tuple(r for r in kept if r)))


def dead(status):
    return lambda r: replace(r, status=status, coverage=None, measurements=(), error="broke")


def unmeasured(of, metric):
    def change(record):
        kept = tuple(m for m in record.measurements if m.name.split("@")[0] != metric)
        return replace(record, measurements=kept)

    return everything(of, change)


def bare(of):
    return replace(of, influences={})


def host(of, **versions):
    def change(record):
        return replace(
            record, host=replace(record.host, versions={**record.host.versions, **versions})
        )

    return everything(of, change)


def real(of, split):
    return records(of, lambda r: replace(r, cell=replace(r.cell, real=split)))


def twice(of):
    return replace(of, run=replace(of.run, records=(*of.run.records, of.run.records[-1])))


def measured_twice(of):
    def change(record):
        extra = replace(record.measurements[-2], name="psnr@400", n=400, value=31.0)
        return replace(record, measurements=(*record.measurements, extra))

    return records(of, change)


def terms(of, change):
    return replace(of, influences={name: change(t) for name, t in of.influences.items()})


GONE = {"low": None, "high": None}
WORSE = side(psnr=-5.0, delta=500.0)
# Name: (BASE, HEAD, kind that --allow takes, "" where nothing accepts it).
IMPOSSIBLE = {
    "unit of HEAD": (side(), numbers(WORSE, unit="bel"), ""),
    "unit of HEAD, equal numbers": (side(), numbers(side(), unit="bel"), "unit"),
    "unit of BASE": (numbers(side(), unit="bel"), side(), "unit"),
    "units swapped": (
        side(),
        numbers(numbers(side(), unit="1e-3"), "delta_kd_efficientnet", unit="dB"),
        "unit",
    ),
    "unit of all": (side(), made(WORSE, lambda m: replace(m, unit="x")), "unit"),
    "direction of HEAD": (side(), numbers(WORSE, better="lower"), ""),
    "direction of HEAD, equal": (side(), numbers(side(), better="lower"), "unit"),
    "direction of BASE": (numbers(side(), better="lower"), side(), "unit"),
    "no direction at all": (numbers(side(), better="up"), numbers(WORSE, better="up"), ""),
    "paired became unpaired": (side(), numbers(side(), paired=False), "unit"),
    "HEAD NaN": (side(), numbers(side(), value=NAN), "undefined"),
    "HEAD None": (side(), numbers(side(), value=None), "undefined"),
    "HEAD infinite": (side(), numbers(side(), value=math.inf), "undefined"),
    "HEAD -infinite": (side(), numbers(side(), value=-math.inf), "undefined"),
    "BASE NaN": (numbers(side(), value=NAN), side(), "undefined"),
    "BASE None": (numbers(side(), value=None), side(), "undefined"),
    "BASE infinite": (numbers(side(), value=math.inf), side(), "undefined"),
    "both infinite": (
        numbers(side(), value=math.inf),
        numbers(side(), value=math.inf),
        "undefined",
    ),
    "both NaN": (numbers(side(), value=NAN), numbers(side(), value=NAN), "undefined"),
    "BASE all NaN": (made(side(), lambda m: replace(m, value=NAN)), side(), "undefined"),
    "all NaN": (made(side(), lambda m: replace(m, value=NAN)),) * 2 + ("undefined",),
    "no interval in HEAD": (side(), bare(numbers(WORSE, **GONE)), ""),
    "no interval in HEAD, better": (side(), bare(numbers(side(psnr=5.0), **GONE)), "interval"),
    "no interval in BASE": (bare(numbers(side(), **GONE)), side(psnr=-5.0), "interval"),
    "no interval in both": (
        bare(numbers(side(), **GONE)),
        bare(numbers(side(psnr=-5.0), **GONE)),
        "interval",
    ),
    "infinite interval": (
        side(),
        bare(numbers(side(psnr=-5.0), low=-math.inf, high=math.inf)),
        "interval",
    ),
    "interval of NaN": (side(), bare(numbers(side(psnr=-5.0), low=NAN, high=NAN)), "interval"),
    "interval upside down": (
        side(),
        bare(numbers(side(psnr=-5.0), low=lambda m: m.high, high=lambda m: m.low)),
        "interval",
    ),
    "interval without width": (
        side(),
        bare(numbers(side(psnr=5.0), low=lambda m: m.value, high=lambda m: m.value)),
        "interval",
    ),
    "interval elsewhere": (side(), bare(numbers(side(psnr=5.0), low=1.0, high=2.0)), "interval"),
    "influences of NaN": (side(), terms(side(psnr=-5.0), lambda t: t * NAN), "interval"),
    "influences of zeros": (
        terms(side(), np.zeros_like),
        terms(side(psnr=0.2), np.zeros_like),
        "interval",
    ),
    "another N of images": (side(), side(images=400, psnr=-5.0), "protocol"),
    "another N of a number": (side(), numbers(side(), n=400), "protocol"),
    "a number measured twice": (side(), measured_twice(side()), "protocol"),
    "a cell twice": (side(), twice(WORSE), ""),
    "a cell twice in BASE": (twice(side()), side(), "protocol"),
    "steps": (side(), altered(WORSE, steps=3), "protocol"),
    "steps, equal": (side(), altered(side(), steps=3), "protocol"),
    "eta": (side(), altered(side(), eta=0.5), "protocol"),
    "dtype": (side(), altered(side(), dtype="float16"), "protocol"),
    "sampler": (side(), altered(side(), sampler="ddpm"), "protocol"),
    "metric version": (side(), altered(WORSE, version=2), "version"),
    "metric version, equal": (side(), altered(side(), version=2), "version"),
    "kernel": (side(), altered(side(), kernel="int8"), "kernel"),
    "data set": (side(), altered(side(), dataset="cifar10"), "dataset"),
    "real images": (side(), altered(side(), real={"efficientnet": "0" * 64}), "reference"),
    "real images unknown in HEAD": (side(), altered(side(), real={}), "reference"),
    "real split": (side(), real(side(), "train"), "reference"),
    "weights": (side(), altered(side(), sha256="b" * 64), "weights"),
    "extractor weights": (
        host(side(), **{"efficientnet weights": "1"}),
        host(side(), **{"efficientnet weights": "2"}),
        "extractor",
    ),
    "extractor weights unknown in HEAD": (
        host(side(), **{"efficientnet weights": "1"}),
        side(),
        "extractor",
    ),
    "a metric of another package": (
        host(side(), **{"metric mine": "pkg 1.0"}),
        host(side(), **{"metric mine": "pkg 1.1"}),
        "extractor",
    ),
    "metric absent in HEAD": (side(), unmeasured(side(), "psnr"), "missing"),
    "distance absent in BASE": (
        unmeasured(side(), "kd_efficientnet"),
        unmeasured(side(delta=500.0), "kd_efficientnet"),
        "threshold",
    ),
    "cell absent in HEAD": (side(), records(side(), lambda r: None), "missing"),
    "cell refused in HEAD": (side(), records(side(), dead("refused")), "refused"),
    "cell failed in HEAD": (side(), records(side(), dead("failed")), ""),
    "all refused in HEAD": (side(), everything(side(), dead("refused")), ""),
    "all refused in both": (everything(side(), dead("refused")),) * 2 + ("",),
    "all failed in both": (everything(side(), dead("failed")),) * 2 + ("",),
    "no cell in HEAD": (side(), everything(side(), lambda r: None), ""),
    "no cell in BASE": (everything(side(), lambda r: None), side(), ""),
    "no cell in both": (everything(side(), lambda r: None),) * 2 + ("",),
    "nothing in common": (
        side(),
        everything(
            side(),
            lambda r: replace(
                r, cell=replace(r.cell, checkpoint=replace(r.cell.checkpoint, name="other"))
            ),
        ),
        "",
    ),
}


@pytest.mark.parametrize("name", IMPOSSIBLE)
def test_what_cannot_be_compared_fails(name):
    base, head, kind = IMPOSSIBLE[name]
    found = comparison.compare(base, head, LIMITS)
    assert found.code() == 1
    assert found.code(undecided=True) == 1
    assert found.failures() or found.blocking() or found.void()
    assert all(row.reason or row.verdict == "worse" for row in found.failures())
    if kind:
        assert kind in KINDS
        assert found.code(allowed=[kind]) == 0
        others = [other for other in KINDS if other != kind]
        assert found.code(allowed=others) == 1
    else:
        assert found.code(allowed=KINDS) == 1


def test_a_gate_of_nothing_fails():
    nothing = [Threshold(absolute=1.0, gate=False)]
    found = comparison.compare(side(), side(), nothing)
    assert (found.void(), found.code()) == (True, 1)


HONEST = {
    "itself": (side(), side()),
    "itself without influences": (bare(side()), bare(side())),
    "itself without an interval": (bare(numbers(side(), **GONE)),) * 2,
    "influences of zeros, equal": (terms(side(), np.zeros_like),) * 2,
    "one side without influences": (bare(side()), side()),
    "other noise": (side(), side(seed=1)),
    "another host": (side(), host(side(), torch="3")),
    "another batch": (side(), altered(side(), batch=10)),
    "better": (side(), side(psnr=2.0)),
    "a metric more": (unmeasured(side(), "psnr"), side()),
    "weights of the extractor not recorded yet": (
        side(),
        host(side(), **{"efficientnet weights": "1"}),
    ),
    "real images not recorded yet": (altered(side(), real={}), side()),
}


@pytest.mark.parametrize("name", HONEST)
def test_honest_repetitions_pass(name):
    base, head = HONEST[name]
    found = comparison.compare(base, head, LIMITS)
    assert found.blocking() == []
    assert found.failures() == []
    assert found.code() == 0


def test_every_field_of_a_measurement_is_judged():
    """A field that is added to a measurement must be thought of here."""
    from bench.core.record import Measurement

    assert {field.name for field in dataclasses.fields(Measurement)} == {
        "name",
        "value",
        "low",
        "high",
        "n",
        "unit",
        "better",
        "version",
        "paired",
    }
