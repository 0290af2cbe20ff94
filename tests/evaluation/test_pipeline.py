"""The pipeline: what it computes, what it takes from the cache, what survives a SIGKILL."""

import dataclasses
import json
import os
import shutil
import signal
import subprocess
import sys

import numpy as np
import pytest
from helpers.cells import Runs
from helpers.tiny import write_card, write_cards

from bench.core import extensions
from bench.core.cell import Draw, expand
from bench.core.errors import InputError
from bench.core.record import Measurement
from bench.core.scheme import Scheme
from bench.evaluation import records
from bench.evaluation.scoring import change
from bench.models.cards import load_cards, verify
from bench.system.host import fingerprint

DRAW = Draw(steps=2, images=8, batch=3)
W4A8 = dataclasses.replace(Scheme.parse("w4a8"), calibration=3)

# Runs the command line and kills itself, as if from outside, around the n-th file that it
# completes: before or after the rename that makes the file appear.
DYING = """
import os, signal, sys
moment, count, rename = sys.argv.pop(1), int(sys.argv.pop(1)), os.replace
def replace(source, target):
    global count
    count -= 1
    if count == 0 and moment == "before":
        os.kill(os.getpid(), signal.SIGKILL)
    rename(source, target)
    if count == 0:
        os.kill(os.getpid(), signal.SIGKILL)
os.replace = replace
from bench.cli.app import main
main()
"""


@pytest.fixture
def cells(cards):
    """The reference and the quantized cell of a tiny random network."""
    card = verify(load_cards(cards)[0])
    return expand([card], [W4A8], ["simulated"], DRAW)


def make(cache, seen=None):
    """Runs of a cache; `seen` collects progress."""
    return Runs(cache, ([] if seen is None else seen).append)


def sampled(seen):
    return sum(progress.batches for progress in seen)


def values(record):
    return {m.name: (m.value, m.low, m.high) for m in record.measurements}


def test_a_cell_is_computed_once(cells, cache):
    seen = []
    first = [make(cache, seen).run(cell) for cell in cells]
    assert [record.status for record in first] == ["ok", "ok"]
    # Three batches for each cell; the twins are not sampled anew.
    assert sampled(seen) == 6
    assert first[1].calibration
    assert not first[0].calibration
    again = []
    second = [make(cache, again).run(cell) for cell in cells]
    assert again == []
    assert second == first


def test_paired_measurements_only_for_quantized_cells(cells, cache):
    pipeline = make(cache)
    records = [pipeline.run(cell) for cell in cells]
    # The test images of Fashion-MNIST.
    assert {r.real_images["efficientnet"] for r in records} == {10_000}
    full, quantized = map(values, records)
    names = {"fd_efficientnet@8", "kd_efficientnet@8"}
    paired = {"psnr@8", "ssim@8", "fd_twin_efficientnet@8"}
    assert set(full) == names
    assert set(quantized) == names | paired | {f"delta_{name}" for name in names}
    for name in names:
        difference = quantized[name][0] - full[name][0]
        value, low, high = quantized[f"delta_{name}"]
        assert value == pytest.approx(difference)
        assert low < value < high
        # Pairs share their noise: the change is known better than the values are.
        assert high - low < quantized[name][2] - quantized[name][1]


def test_a_metric_that_these_images_are_too_small_for_leaves_the_others(cells, cache):
    metrics = ("psnr", "ssimulacra2", "ms_ssim")
    cell = dataclasses.replace(cells[1], metrics=metrics)
    record = make(cache).run(cell)
    names = {m.name for m in record.measurements}
    assert record.status == "ok" and {"psnr@8", "ms_ssim_2scales@8"} == names
    assert record.error.startswith("not measured: ssimulacra2 needs images of at least 113 x 113")
    assert records.cached(make(cache).resolve(cell)).error == record.error


def test_missing_weights_of_a_metric_are_told_before_sampling(cells, cache, monkeypatch):
    monkeypatch.setenv("BENCH_BACKBONES", str(cache))
    seen = []
    with pytest.raises(InputError, match=r"no weights of alexnet at .*bench fetch lpips"):
        make(cache, seen).check([dataclasses.replace(cells[1], metrics=("psnr", "lpips"))])
    assert sampled(seen) == 0


def test_more_images_reuse_the_whole_batches(cells, cache):
    pipeline = make(cache)
    few = pipeline.images(cells[0])
    seen = []
    more = dataclasses.replace(cells[0], draw=dataclasses.replace(DRAW, images=11))
    assert records.missing_batches(make(cache).resolve(more)) == 1
    many = make(cache, seen).images(more)
    assert sampled(seen) == 1
    assert len(few) == 8
    np.testing.assert_array_equal(many[:8], few)


def folder_of(runs, cell):
    return runs.resolve(cell).images.folder


@pytest.mark.parametrize(
    "change", [{"seed": 1}, {"steps": 3}, {"sampler": "ddpm"}, {"batch": 4}, {"eta": 0.5}]
)
def test_another_draw_is_another_key(cells, cache, change):
    pipeline = make(cache)
    other = dataclasses.replace(cells[0], draw=dataclasses.replace(DRAW, **change))
    assert folder_of(pipeline, other) != folder_of(pipeline, cells[0])


def test_keys_know_weights_versions_and_code_but_no_names(cells, cache, monkeypatch):
    pipeline = make(cache)
    cell = cells[1]

    def changed(**changes):
        card = dataclasses.replace(cell.checkpoint, **changes)
        return dataclasses.replace(cell, checkpoint=card)

    folder = folder_of(pipeline, cell)
    assert folder_of(pipeline, changed(name="other", uri="elsewhere")) == folder
    assert folder_of(pipeline, changed(sha256="0" * 64)) != folder
    monkeypatch.setattr("bench.evaluation.keys.code_hash", lambda names: "changed")
    assert folder_of(make(cache), cell) != folder
    monkeypatch.undo()
    host = dataclasses.replace(fingerprint(), versions={**fingerprint().versions, "torch": "0"})
    assert folder_of(Runs(cache, host=host), cell) != folder
    host = dataclasses.replace(fingerprint(), versions={**fingerprint().versions, "scipy": "0"})
    other = Runs(cache, host=host).resolve(cell)
    assert other.images.folder == folder
    assert other.record != pipeline.resolve(cell).record


def test_a_damaged_cache_is_computed_anew(cells, cache):
    pipeline = make(cache)
    first = pipeline.run(cells[0])
    pipeline.resolve(cells[0]).record.write_text("{", encoding="utf-8")
    shard = folder_of(pipeline, cells[0]) / "00001.npy"
    shard.write_bytes(shard.read_bytes()[:100])
    for path in (cache / "features").rglob("*.npy"):
        path.write_bytes(b"")
    seen = []
    assert values(make(cache, seen).run(cells[0])) == values(first)
    assert sampled(seen) == 1


def test_a_refusal_is_a_record(cells, cache, monkeypatch):
    monkeypatch.setattr(
        "bench.quant.backends.simulated.Simulated.refuses",
        lambda self, scheme, host: "no such operation",
    )
    record = make(cache).run(cells[1])
    assert (record.status, record.error) == ("refused", "no such operation")
    assert record.measurements == ()
    assert records.missing_batches(make(cache).resolve(cells[1])) == 0


def test_a_failure_is_a_record_and_is_tried_again(cells, cache, monkeypatch):
    def broken(self, *arguments):
        raise RuntimeError("first line\nsecond line")

    monkeypatch.setattr("bench.quant.backends.simulated.Simulated.__call__", broken)
    pipeline = make(cache)
    assert pipeline.run(cells[0]).status == "ok"
    record = pipeline.run(cells[1])
    assert (record.status, record.error) == ("failed", "RuntimeError: first line second line")
    monkeypatch.undo()
    assert make(cache).run(cells[1]).status == "ok"


def test_bad_input_is_no_record(cells, cache, monkeypatch):
    def missing(checkpoint):
        raise InputError("no such file")

    lookup = extensions.lookup
    monkeypatch.setattr(
        "bench.core.extensions.lookup", lambda t, n: missing if t == "sources" else lookup(t, n)
    )
    with pytest.raises(InputError, match="no such file"):
        make(cache).run(cells[0])


def test_scheme_without_bits_costs_nothing(cells, cache):
    pipeline = make(cache)
    full = pipeline.run(cells[0])
    assert full.coverage.kernel == "none"
    assert full.coverage.macs_quantized == 0
    assert cells[0].reference == cells[0]
    assert [cell.is_reference for cell in cells] == [True, False]


def test_records_follow_the_real_images(cells, cache, monkeypatch):
    pipeline = make(cache)
    path = pipeline.resolve(cells[0]).record
    monkeypatch.setattr("bench.measurement.features.reference.digest", lambda *names: "other")
    assert make(cache).resolve(cells[0]).record != path


def test_a_change_that_no_pair_shows_has_no_interval():
    one = Measurement("recall_x@9", 0.5, None, None, 9, "", "higher", 1)
    moved = change(one, one, np.zeros(9))
    assert (moved.value, moved.low, moved.high) == (0.0, None, None)
    moved = change(one, one, np.linspace(-1, 1, 9))
    assert moved.low < 0 < moved.high


def test_what_does_not_fit_is_found_before_sampling(cells, cache):
    pipeline = make(cache)
    pipeline.check(cells)
    card = cells[0].checkpoint
    few = dataclasses.replace(card, config={**card.config, "timesteps": 1})
    with pytest.raises(InputError, match="has 1 timesteps: lower --steps 2"):
        pipeline.check([dataclasses.replace(cells[0], checkpoint=few)])
    skipping = dataclasses.replace(cells[1], scheme=Scheme.parse("w4a8+skip=nowhere"))
    with pytest.raises(InputError, match="skip=nowhere matches no layer"):
        pipeline.check([skipping])


def command(cards, out):
    sizes = ["--images", "8", "--steps", "2", "--batch", "3"]
    files = ["--cards", str(cards), "--out", str(out)]
    what = ["--scheme", "w4a8", "--backend", "simulated", "--checkpoints", "*"]
    return ["run", *what, *sizes, *files]


def numbers(out):
    """What a run.json says, without times and names."""
    (path,) = out.glob("*/run.json")
    records = json.loads(path.read_text(encoding="utf-8"))["records"]
    return [{**record, "seconds": None} for record in records]


@pytest.fixture(scope="module")
def unbroken(tmp_path_factory, fit_of_the_tiny_card):
    """(card file, number of files that a run completes, its numbers)."""
    folder = tmp_path_factory.mktemp("unbroken")
    cards = write_cards(folder, [write_card(folder)])
    shutil.copytree(fit_of_the_tiny_card, folder / "cache" / "fits")
    environment = os.environ | {"BENCH_CACHE": str(folder / "cache")}
    words = [sys.executable, "-m", "bench", *command(cards, folder / "out")]
    subprocess.run(words, env=environment, check=True, capture_output=True)
    files = [path for path in folder.rglob("cache/**/*") if path.is_file()]
    return cards, len(files), numbers(folder / "out")


def test_a_change_that_is_rounding_is_none():
    before = Measurement("kd@3", 130.0, 129.0, 131.0, 3, "1e-3", "lower", 1)
    after = dataclasses.replace(before, value=130.0 + 1e-8)
    found = change(after, before, np.array([1e-9, 0.0, -1e-9]))
    assert (found.name, found.value, found.low, found.high) == ("delta_kd@3", 0.0, None, None)
    found = change(dataclasses.replace(before, value=131.0), before, np.array([1.0, 0.0, -1.0]))
    # Deviation 1, t of two degrees of freedom 4.302653.
    assert (found.value, found.high) == (1.0, pytest.approx(1 + 4.302653 / 3**0.5))
    assert change(after, before, np.zeros(2)).low is None


@pytest.mark.parametrize(
    ("moment", "share"),
    [
        ("before", 0.3),
        pytest.param("before", 0.1, marks=pytest.mark.slow),
        pytest.param("after", 0.7, marks=pytest.mark.slow),
        pytest.param("after", 1, marks=pytest.mark.slow),
    ],
)
def test_sigkill_and_repeat_gives_the_same_numbers(
    unbroken, bench, monkeypatch, tmp_path, fit_of_the_tiny_card, moment, share
):
    cards, files, expected = unbroken
    shutil.copytree(fit_of_the_tiny_card, tmp_path / "cache" / "fits")
    environment = os.environ | {"BENCH_CACHE": str(tmp_path / "cache")}
    out = tmp_path / "out"
    count = max(1, round(share * files))
    words = [sys.executable, "-c", DYING, moment, str(count), *command(cards, out)]
    killed = subprocess.run(words, env=environment, capture_output=True)
    assert killed.returncode == -signal.SIGKILL
    assert not list(out.glob("*/run.json"))
    monkeypatch.setenv("BENCH_CACHE", environment["BENCH_CACHE"])
    assert bench(*command(cards, out))[0] == 0
    assert numbers(out) == expected


@pytest.mark.slow
def test_sigkill_while_the_report_is_written(
    unbroken, bench, monkeypatch, tmp_path, fit_of_the_tiny_card
):
    cards, files, expected = unbroken
    shutil.copytree(fit_of_the_tiny_card, tmp_path / "cache" / "fits")
    environment = os.environ | {"BENCH_CACHE": str(tmp_path / "cache")}
    out = tmp_path / "out"
    words = [sys.executable, "-c", DYING, "after", str(files + 2), *command(cards, out)]
    killed = subprocess.run(words, env=environment, capture_output=True)
    assert killed.returncode == -signal.SIGKILL
    # The half-written report has a hidden name, which no command takes for a run.
    assert not list(out.glob("[!.]*/run.json"))
    monkeypatch.setenv("BENCH_CACHE", environment["BENCH_CACHE"])
    code, _, stderr = bench(*command(cards, out))
    assert code == 0 and "2 of 2 cells came from the cache" in stderr
    assert numbers(out) == expected
