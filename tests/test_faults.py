"""The gate catches faults that were put in on purpose, on a tiny network as it is really run."""

from __future__ import annotations

import copy
from dataclasses import replace

import pytest
import torch
from helpers.cells import Runs
from helpers.tiny import write_card, write_cards

from bench.core.cell import Draw, expand
from bench.core.errors import InputError
from bench.core.record import Run, to_json
from bench.core.scheme import Scheme
from bench.measurement.metrics.paired import Psnr
from bench.models.cards import load_cards, verify
from bench.quant.backends.full_precision import FullPrecision
from bench.quant.backends.simulated import Simulated
from bench.system.runs import LoadedRun
from bench.verdicts import gate
from bench.verdicts.comparison import compare
from bench.verdicts.thresholds import load

DRAW = Draw(steps=2, images=24, batch=12)
SCHEME = replace(Scheme.parse("w8a8"), calibration=12)


def measured(folder, cache, draw=DRAW, seed=0):
    """Run the tiny checkpoint in full precision and quantized; a side of a comparison."""
    folder.mkdir(exist_ok=True)
    cards = load_cards(write_cards(folder, [write_card(folder, seed=seed)]))
    cells = expand([verify(cards[0])], [SCHEME], ["simulated"], draw)
    pipeline = Runs(cache)
    records = tuple(pipeline.run(cell) for cell in cells)
    assert [record.status for record in records] == ["ok", "ok"]
    terms = {name: t for cell in cells for name, t in pipeline.influences(cell).items()}
    return LoadedRun("run", Run("run", "2026", "a", False, "bench run", records), terms)


@pytest.fixture(scope="module")
def base(tmp_path_factory):
    return measured(tmp_path_factory.mktemp("base"), tmp_path_factory.mktemp("cache"))


def kinds(found):
    return {finding.kind for finding in found.findings}


def worse(found):
    return {row.metric for row in found.failures()}


def test_no_fault(base, tmp_path, cache):
    found = compare(base, measured(tmp_path, cache), load())
    assert found.code() == 0
    assert {row.verdict for row in found.rows if row.gated} == {"unchanged"}


def test_a_swapped_checkpoint(base, tmp_path, cache):
    found = compare(base, measured(tmp_path, cache, seed=1), load())
    assert kinds(found) == {"weights"}
    assert found.code() == 1


def test_another_timestep_spacing(base, tmp_path, cache):
    found = compare(base, measured(tmp_path, cache, replace(DRAW, spacing="leading")), load())
    assert kinds(found) == {"protocol"}
    assert found.code() == 1


def test_a_metric_whose_version_changed(base, tmp_path, cache, monkeypatch):
    monkeypatch.setattr(Psnr, "version", 2)
    found = compare(base, measured(tmp_path, cache), load())
    assert kinds(found) == {"version"}
    assert found.code() == 1


def test_a_truncated_run(base):
    short = replace(base, run=replace(base.run, records=base.run.records[:1]))
    found = compare(base, short, load())
    assert [row.verdict for row in found.failures()] == ["absent"]
    assert found.code() == 1


def test_a_run_of_fewer_images(base, tmp_path, cache):
    found = compare(base, measured(tmp_path, cache, replace(DRAW, images=12)), load())
    assert kinds(found) == {"protocol"}
    assert {row.verdict for row in found.rows if row.gated} == {"not comparable"}
    assert found.code() == 1


def test_a_run_whose_file_is_cut(base, tmp_path):
    text = to_json(base.run)
    (tmp_path / "run.json").write_text(text[: len(text) // 2])
    with pytest.raises(InputError, match=r"run\.json"):
        gate.loaded_run(tmp_path, str(tmp_path))


def test_a_quantizer_that_says_it_inserts_nothing(base, tmp_path, cache, monkeypatch):
    def quantize(self, denoiser, scheme, calibrate):
        full = FullPrecision()(denoiser, Scheme(), calibrate)
        return replace(full, coverage=replace(full.coverage, kernel="simulated"))

    monkeypatch.setattr(Simulated, "__call__", quantize)
    found = compare(base, measured(tmp_path, cache), load())
    assert kinds(found) == {"coverage", "inert"}
    assert found.code() == 1


def test_a_quantizer_that_inserts_nothing_in_silence(base, tmp_path, cache, monkeypatch):
    real = Simulated.__call__

    def quantize(self, denoiser, scheme, calibrate):
        return replace(real(self, denoiser, scheme, calibrate), denoiser=denoiser)

    monkeypatch.setattr(Simulated, "__call__", quantize)
    found = compare(base, measured(tmp_path, cache), load())
    assert worse(found) == set()
    assert kinds(found) == {"inert"}
    assert found.code() == 1


def test_weights_rounded_twice(base, tmp_path, cache, monkeypatch):
    real = Simulated.__call__

    def quantize(self, denoiser, scheme, calibrate):
        model = copy.deepcopy(denoiser.model)
        with torch.no_grad():
            for weight in (w for w in model.parameters() if w.ndim > 1):
                step = weight.abs().max() / 7
                weight.copy_((weight / step).round() * step)
        return real(self, replace(denoiser, model=model), scheme, calibrate)

    monkeypatch.setattr(Simulated, "__call__", quantize)
    found = compare(base, measured(tmp_path, cache), load())
    assert "psnr" in worse(found)
    assert found.code() == 1
