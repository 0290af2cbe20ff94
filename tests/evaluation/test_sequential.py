"""Precision on demand: when a cell stops, what it costs, and what the report says of it."""

import dataclasses
import json
import os
import re
import signal
import subprocess
import sys

import pytest
from helpers.cells import Runs
from helpers.tiny import write_card, write_cards

from bench.core.cell import Draw, expand
from bench.core.errors import InputError
from bench.core.scheme import Scheme
from bench.evaluation import sequential
from bench.evaluation.sequential import SequentialRunner, StoppingRule
from bench.models.cards import load_cards, verify
from bench.verdicts import confidence_sequences

W4A8 = dataclasses.replace(Scheme.parse("w4a8"), calibration=4)
W2A8 = dataclasses.replace(Scheme.parse("w2a8"), calibration=4)
BUDGET = 16


@pytest.fixture(autouse=True)
def small(monkeypatch):
    """Rounds of 8 and 16 images."""
    monkeypatch.setattr(sequential, "FIRST", 8)


@pytest.fixture
def cells(cards):
    card = verify(load_cards(cards)[0])
    return expand([card], [W4A8, W2A8], ["simulated"], Draw(steps=1, images=BUDGET, batch=4))


class Sequential:
    """A run of a cache; `seen` collects batches sampled, `told` the lines."""

    def __init__(self, cache, precision, seen=None, told=None):
        seen, told = [] if seen is None else seen, [] if told is None else told
        self.runs = Runs(cache, lambda progress: seen.append(progress.batches))
        rule = StoppingRule(precision, BUDGET)
        self.runner = SequentialRunner(self.runs.resolver, rule, told.append)
        self.known, self.planned = self.runner.known, self.runner.planned

    def run(self, cells):
        return self.runner.run(cells, lambda cells, counts: list(map(self.runs.run, cells)))


def half(record):
    change = record.measurement("delta_fd_efficientnet")
    return (change.high - change.low) / 2


def test_planned_counts_double_up_to_the_budget():
    assert StoppingRule(1.0, 8).counts() == [8]
    assert StoppingRule(1.0, 32).counts() == [8, 16, 32]
    assert StoppingRule(1.0, 50).counts() == [8, 16, 32, 50]


@pytest.mark.parametrize("precision", [0.0, -1.0, float("nan"), float("inf")])
def test_a_precision_is_a_positive_number(precision):
    with pytest.raises(InputError, match="--precision must be above 0"):
        StoppingRule(precision, 500)


def test_the_change_of_the_first_frechet_distance_decides_else_the_first_unpaired_metric(cells):
    def decides(extractors, metrics):
        return sequential.target(
            dataclasses.replace(cells[1], extractors=extractors, metrics=metrics)
        )

    both = ("efficientnet", "inception")
    assert decides(both, ("kernel", "psnr", "frechet")) == ("efficientnet", "frechet")
    assert decides(("inception-classes", "inception"), ("frechet",)) == ("inception", "frechet")
    assert decides(both, ("psnr", "kernel")) == ("efficientnet", "kernel")
    with pytest.raises(InputError, match="--metrics frechet"):
        decides(both, ("psnr", "frechet_twin"))


def test_each_cell_stops_at_its_own_n_and_costs_its_images_once(cells, cache):
    """A precision between the half widths of both cells at N = 8 stops one there."""
    seen, told = [], []
    first = Sequential(cache, 1e9, seen).run(cells)
    widths = [half(record) for record in first[1:]]
    assert [record.cell.draw.images for record in first] == [8, 8, 8]
    assert sum(seen) == 3 * 8 / 4
    found = Sequential(cache, sum(widths) / 2, seen, told).run(cells)
    assert [r.status for r in found] == ["ok"] * 3
    early = widths.index(min(widths)) + 1
    late = found[3 - early]
    assert found[early].rounds == sequential.Rounds(
        "delta_fd_efficientnet", sum(widths) / 2, True, (8,)
    )
    assert late.cell.draw.images == max(late.rounds.counts) > 8
    assert late.rounds.reached == (half(late) <= sum(widths) / 2)
    # Full precision goes as far as the largest of its cells; every batch was sampled once.
    assert found[0].cell.draw.images == late.cell.draw.images
    assert sum(seen) == sum(r.cell.draw.images for r in found) / 4
    assert len(told) == 1 + len(late.rounds.counts)
    # The last interval is that of a run with this N.
    plain = Runs(cache).run(late.cell)
    assert plain.measurements == late.measurements


def test_the_budget_ends_it_and_a_repetition_computes_nothing(cells, cache):
    cells, found = cells[:2], Sequential(cache, 1e-9)
    assert [cell.draw.images for cell in found.planned(cells)] == [BUDGET] * 2
    assert found.known(cells[1]) == (8, False)
    first = found.run(cells)
    assert first[0].rounds is None
    assert first[1].rounds.counts == (8, 16)
    assert not first[1].rounds.reached
    seen = []
    again = Sequential(cache, 1e-9, seen)
    assert again.run(cells) == first
    assert seen == []
    assert again.known(cells[1]) == (BUDGET, True)
    assert [cell.draw.images for cell in Sequential(cache, 1e9).planned(cells)] == [8] * 2


def test_refusals_and_failures_are_records_beside_the_others(cells, cache, monkeypatch):
    from bench.quant.backends.simulated import Simulated

    monkeypatch.setattr(
        Simulated, "refuses", lambda self, scheme, host: "no" * (scheme.weight_bits == 2)
    )
    found = Sequential(cache / "refused", 1e9).run(cells)
    assert [r.status for r in found] == ["ok", "ok", "refused"]
    assert found[2].cell == sequential.sized(cells[2], 8)
    assert Sequential(cache / "none", 1e9).known(cells[2]) == (8, True)
    monkeypatch.undo()
    monkeypatch.setattr(sequential, "FIRST", 8)

    def broken(self, *arguments):
        raise RuntimeError("broken")

    monkeypatch.setattr(Simulated, "__call__", broken)
    found = Sequential(cache / "failed", 1e9).run(cells)
    assert [r.status for r in found] == ["ok", "failed", "failed"]
    assert found[1].error == "RuntimeError: broken"
    assert found[1].cell.metrics == cells[1].metrics


SIZES = ["--scheme", "w4a8", "--checkpoints", "*", "--steps", "1", "--batch", "8"]
SIZES += ["--backend", "simulated"]


def test_command(bench, cards, tmp_path):
    out = tmp_path / "out"
    words = ["run", *SIZES, "--cards", cards, "--out", out, "--images", "20"]
    code, stdout, stderr = bench(*words, "--precision", "1e-6", "--dry-run")
    assert code == 0
    assert stdout.count("0 of 3 batches cached, N up to 20") == 2
    assert "N = 8, 16, 20: until the 95% interval of the change of frechet" in stderr
    assert not out.exists()
    code, stdout, stderr = bench(*words, "--precision", "1e-6")
    assert code == 0
    assert re.search(
        r"tiny w4a8 simulated: N = 16: delta_fd_efficientnet \+?-?[\d.e+]+ ± ", stderr
    )
    (run,) = out.glob("*/run.json")
    text = (run.parent / "report.md").read_text()
    assert re.search(
        r"The budget of images ended first\*\* at tiny w4a8 simulated \(N = 20, ±", text
    )
    (full, quantized) = json.loads(run.read_text())["records"]
    assert full["rounds"] is None
    assert quantized["rounds"] == {
        "metric": "delta_fd_efficientnet",
        "precision": 1e-6,
        "reached": False,
        "counts": [8, 16, 20],
    }
    code, stdout, stderr = bench(*words, "--precision", "1e6")
    assert (code, "1 of 2 cells came from the cache" in stderr) == (0, False)
    first, second = sorted(out.glob("*/run.json"))
    assert "ended first" not in (second.parent / "report.md").read_text()
    code, stdout, stderr = bench(*words, "--precision", "1e6", "--dry-run")
    assert stdout.count("cached, N = 8") == 2
    code, stdout, _ = bench("compare", first.parent.name, second.parent.name, "--out", out)
    assert code == 1
    assert "images 20 → 8" in stdout
    assert "not comparable" in stdout


@pytest.mark.parametrize(
    ("flags", "word"),
    [
        (["--precision", "0"], "--precision must be above 0"),
        (["--precision", "nan"], "--precision must be above 0"),
        (["--precision", "half"], "--precision"),
        (["--precision", "1", "--images", "7"], "raise --images 7"),
        (["--precision", "1", "--metrics", "psnr"], "--metrics frechet"),
        (["--precision", "1", "--scheme", "fp32"], "name another --scheme"),
        (["--until-decided", "--precision", "1"], "choose one"),
        (["--until-decided", "--images", "99"], "raise --images 99"),
        (["--until-decided", "--metrics", "psnr"], "--metrics kernel"),
        (["--until-decided", "--scheme", "fp32"], "name another --scheme"),
        (["--until-decided", "--against", "nosuch"], "no run 'nosuch'"),
    ],
)
def test_bad_flags(bench, cards, tmp_path, flags, word):
    out, sizes = tmp_path / "out", SIZES[2:] if "fp32" in flags else SIZES
    code, stdout, stderr = bench("run", *sizes, "--cards", cards, "--out", out, *flags)
    assert (code, stdout) == (2, "")
    (line,) = [
        line
        for line in stderr.splitlines()
        if not line.startswith(("w4a8", "fp32", "batch", "N = 1"))
    ]
    assert line.startswith("bench: ")
    assert word in line
    assert not out.exists()


def test_until_decided(bench, cards, tmp_path, monkeypatch):
    """Against full precision, then against that run, whose images are the same."""
    monkeypatch.setattr(confidence_sequences, "FIRST", 8)
    out = tmp_path / "out"
    words = ["run", *SIZES, "--cards", cards, "--out", out, "--images", "20", "--until-decided"]
    code, _, stderr = bench(*words, "--margin", "1e9")
    assert code == 0
    assert "N = 8, 16, 20: until it is known at 95% whether" in stderr
    assert re.search(r"tiny w4a8 simulated: N = 8: delta_kd_.* margin 1e\+09: equivalent", stderr)
    (first,) = out.glob("*/run.json")
    full, quantized = json.loads(first.read_text())["records"]
    assert full["decided"] is None
    assert quantized["rounds"] is None
    decided = quantized["decided"]
    assert (decided["verdict"], decided["margin"], decided["counts"]) == ("equivalent", 1e9, [8])
    assert (decided["metric"], decided["base"]) == ("delta_kd_efficientnet", "")
    assert quantized["cell"]["draw"]["images"] == full["cell"]["draw"]["images"] == 8
    assert "| equivalent |" in (first.parent / "report.md").read_text()
    again = [*words, "--margin", "1e-9", "--against", first.parent.name]
    code, _, stderr = bench(*again)
    assert code == 0, stderr
    (second,) = set(out.glob("*/run.json")) - {first}
    decided = json.loads(second.read_text())["records"][1]["decided"]
    assert (decided["verdict"], decided["counts"]) == ("equivalent", [8])
    assert (decided["base"], decided["paired"]) == (first.parent.name, True)
    certified = ["certify", first.parent.name, "--margin", "kd_efficientnet:1e9", "--out", out]
    code, stdout, _ = bench(*certified)
    # Its bounds are of a first look at 8 images.
    assert (code, ", sequence)" in stdout) == (0, True)


# Kills itself as a round's last file is complete.
DYING = """
import os, signal, sys
from bench.evaluation import sequential
sequential.FIRST = 8
count, rename = int(sys.argv.pop(1)), os.replace
def replace(source, target):
    global count
    rename(source, target)
    count -= str(target).endswith(".json") and "records" in str(target)
    if count == 0:
        os.kill(os.getpid(), signal.SIGKILL)
os.replace = replace
from bench.cli.app import main
main()
"""


@pytest.mark.slow
def test_sigkill_after_a_round_and_repeat(tmp_path):
    cards, out = write_cards(tmp_path, [write_card(tmp_path)]), tmp_path / "out"
    places = ["--cards", str(cards), "--out", str(out), "--images", "16", "--precision", "1e-6"]
    environment = os.environ | {"BENCH_CACHE": str(tmp_path / "cache")}

    def run(count):
        words = [sys.executable, "-c", DYING, str(count), "run", *SIZES, *places]
        return subprocess.run(words, env=environment, capture_output=True, text=True)

    assert run(1).returncode == -signal.SIGKILL
    assert not list(out.glob("*/run.json"))
    again = run(-1)
    assert again.returncode == 0, again.stderr
    (path,) = out.glob("*/run.json")
    assert json.loads(path.read_text())["records"][1]["rounds"]["counts"] == [8, 16]
    # Nothing of the first round was computed anew: its batches are one file each.
    assert len(list((tmp_path / "cache" / "images").rglob("*.npy"))) == 4
