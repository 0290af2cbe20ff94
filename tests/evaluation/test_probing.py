import json
import re
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from helpers.fashion import fashion
from helpers.tiny import write_card, write_cards
from safetensors.torch import load_file, save_file

from bench.core import extensions, probe_record
from bench.core.cell import Draw
from bench.core.errors import InputError
from bench.core.progress import Done
from bench.core.scheme import Scheme
from bench.evaluation import probe_context
from bench.evaluation.probe_context import Plan
from bench.evaluation.probing import Prober, ProbeWorker, outcomes, tasks
from bench.measurement.probes.context import Setting
from bench.measurement.probes.flatness import Flatness
from bench.models.cards import load_cards, verify
from bench.quant.rounded_alone import RoundedAlone
from bench.system import store
from bench.system.host import fingerprint

SETTING = Setting(
    **{"examples": 8, "chunk": 8, "radii": (0.01,), "worst_radii": (0.001,), "directions": 2},
    **{"ascent": 1, "shifts": 2, "curvature": 4, "lanczos": 2, "eigenvalues": 1},
    **{"hutchinson": 2, "images": 4, "worst": 1},
)
DRAW = Draw(steps=2, images=4, batch=4)


def prober(cache, probes=("flatness",), **changes):
    plan = Plan(probes, (Scheme.parse("w4a8"),), "simulated", DRAW, SETTING)
    return Prober(fingerprint(), cache, replace(plan, **changes))


def card(cards, name="tiny"):
    (found,) = (c for c in load_cards(cards) if c.name == name)
    return verify(found)


@fashion
def test_a_repeated_probe_computes_nothing(cards, cache, monkeypatch):
    first = list(prober(cache).run(card(cards)))
    assert [part.status for part in first] == ["ok", "ok"]
    monkeypatch.setattr(Flatness, "__call__", None)
    assert list(prober(cache).run(card(cards))) == first
    other = prober(cache, setting=replace(SETTING, seed=1))
    assert [part.status for part in other.run(card(cards))] == ["failed", "failed"]


def rows(parts):
    """What was found, without times."""
    return [replace(part, seconds=0.0) for part in parts]


@fashion
@pytest.mark.slow
@pytest.mark.parametrize("engine", ["local", "processes:2", "ray:local,2"])
def test_any_engine_finds_the_rows_of_one_after_the_other(tmp_path, cache, engine):
    if engine.startswith("ray"):
        pytest.importorskip("ray")
    entries = [write_card(tmp_path, f"seed{seed}", seed=seed) for seed in (0, 1)]
    found = [card(write_cards(tmp_path, entries), name) for name in ("seed0", "seed1")]
    alone = prober(cache / "alone", ("flatness", "prior"))
    wanted = [part for each in found for part in rows(alone.run(each))]
    worker = ProbeWorker(alone.plan, fingerprint(), cache)
    todo = tasks(alone.plan, found)
    done = {
        str(told.work): outcomes(alone.plan, told)
        for told in extensions.lookup("engines", engine)(worker, todo)
        if isinstance(told, Done)
    }
    assert [part for each in todo for part in rows(done[str(each)])] == wanted
    assert {part.status for part in wanted} == {"ok"}


def test_a_probe_whose_worker_dies_is_rows_that_failed(cards, cache):
    plan = prober(cache).plan
    (task,) = tasks(plan, [card(cards)])
    found = outcomes(plan, Done(task, error="its process was ended by SIGKILL"))
    assert [(part.part, part.status) for part in found] == [
        ("lpf", "failed"), ("sharpness", "failed")
    ]  # fmt: skip
    assert {part.error for part in found} == {"its process was ended by SIGKILL"}


@fashion
def test_an_interrupted_probe_goes_on(cards, cache, monkeypatch):
    whole, asked = Flatness.__call__, []

    def interrupted(self, subject, part, earlier):
        asked.append(part)
        if part == "sharpness" and len(asked) == 2:
            raise KeyboardInterrupt
        return whole(self, subject, part, earlier)

    monkeypatch.setattr(Flatness, "__call__", interrupted)
    with pytest.raises(KeyboardInterrupt):
        list(prober(cache).run(card(cards)))
    found = list(prober(cache).run(card(cards)))
    assert [part.status for part in found] == ["ok", "ok"]
    assert asked == ["lpf", "sharpness", "sharpness"]


@fashion
def test_nan_weights_are_rows_and_stop_nothing(tmp_path, cache):
    entries = [write_card(tmp_path, "bad"), write_card(tmp_path, "good")]
    weights = load_file(tmp_path / "bad.safetensors")
    weights["unet.conv_in.weight"][0] = float("nan")
    save_file(weights, tmp_path / "bad.safetensors")
    entries[0]["sha256"] = store.sha256(tmp_path / "bad.safetensors")
    cards, made = write_cards(tmp_path, entries), prober(cache)
    bad = list(made.run(card(cards, "bad")))
    assert [part.status for part in bad] == ["failed", "failed"]
    assert "unet.conv_in.weight holds NaN" in bad[0].error
    assert [part.status for part in made.run(card(cards, "good"))] == ["ok", "ok"]


def test_classes_are_refused_by_name(cards, cache, monkeypatch):
    made = prober(cache)
    full = made.generation.denoiser
    monkeypatch.setattr(
        made.generation, "denoiser", lambda checkpoint: replace(full(checkpoint), classes=3)
    )
    found = list(made.run(card(cards)))
    assert {part.status for part in found} == {"failed"}
    assert "'tiny': probes take no classes" in found[0].error


@fashion
def test_a_refused_scheme_is_a_row(cards, cache):
    made = prober(cache, ("exposure",), backend="int8-cuda")
    full, quantized = made.run(card(cards))
    assert full.status == "ok"
    assert (quantized.part, quantized.status) == ("w4a8:quantized", "refused")
    assert quantized.error
    assert quantized.rows == ()


@fashion
def test_all_checkpoints_see_the_same_examples(tmp_path, cache):
    entries = [write_card(tmp_path, f"seed{seed}", seed=seed) for seed in (0, 1)]
    cards, made = write_cards(tmp_path, entries), prober(cache)
    found = []
    for name in ("seed0", "seed1"):
        list(made.run(card(cards, name)))
        found.append(made._context(name).examples)
    assert torch.equal(found[0].x_0, found[1].x_0)
    assert torch.equal(found[0].noise, found[1].noise)
    # One timestep in each of the equal slices.
    assert (found[0].t * len(found[0].t) // 1000).tolist() == list(range(8))


@fashion
def test_too_few_images_say_what_to_do(cards, cache):
    made = prober(cache, setting=replace(SETTING, examples=20_000))
    (part, _) = made.run(card(cards))
    assert part.status == "failed"
    assert "10000 test images" in part.error


@pytest.mark.parametrize(
    ("count", "wanted", "remedy"),
    [
        (4, 32, "probe a set with as many; of a folder without"),
        (4, 64, "probe a set with as many (32 with --preset smoke); of a folder without"),
        (40, 64, "use --preset smoke, or probe a larger set"),
    ],
)
def test_the_smallest_preset_does_not_send_to_itself(cards, count, wanted, remedy, monkeypatch):
    """`bench probe --preset smoke` with 4 test images said "(--preset smoke)"."""
    monkeypatch.setattr(probe_context, "real_images", lambda *words: torch.zeros(count, 1, 28, 28))
    with pytest.raises(InputError) as caught:
        probe_context.examples(card(cards), None, replace(SETTING, examples=wanted))
    said = f"data set fashion-mnist has {count} test images, probes take {wanted}: {remedy}"
    assert str(caught.value).startswith(said)


@pytest.mark.slow
def test_all_probes_of_a_checkpoint(cards, cache):
    names = ("perturbation", "flatness", "hessian", "exposure", "prior", "sensitivity")
    found = list(prober(cache, names).run(card(cards)))
    assert {part.status for part in found} == {"ok"}
    assert {part.probe for part in found} == set(names)
    assert all(part.rows for part in found)


def falling(self, name, widths):
    """Costs of layers in the place of those that are measured: later ones cost less."""
    return np.exp(-list(self.first).index(name) / 5 - 1.4 * np.tile([widths], (4, 1)).T)


@fashion
def test_the_front_of_a_budget_of_bits(bench, cards, tmp_path, monkeypatch):
    monkeypatch.setattr(RoundedAlone, "alone", falling)
    words = ("--cards", cards, "--preset", "smoke", "--probes", "allocation")
    code, stdout, stderr = bench("probe", *words, "--scheme", "w~4.5a8", "--out", tmp_path / "out")
    assert code == 0 and "tiny allocation, w~4.5a8:front: ok" in stderr
    assert "Highs" not in stdout
    page = Path(stdout.strip())
    assert "## Bits for each layer" in page.read_text()
    assert (page.parent / "figures" / "probe_allocation-01.png").is_file()
    bits = [
        [row.value for row in probe_record.read(page.parent / "probes.json").rows("tiny", *words)]
        for words in (("front_predicted",), ("uniform_predicted",))
    ]
    assert bits[0] == sorted(bits[0], reverse=True) and len(bits[1]) == 4


@pytest.mark.slow
def test_a_budget_of_bits_and_its_front_in_one_command(bench, cards, tmp_path, monkeypatch):
    monkeypatch.setattr(RoundedAlone, "alone", falling)
    words = ("--cards", cards, "--scheme", "w~4.5a8", "--backend", "simulated", "--images", 4)
    words += ("--steps", 2, "--preset", "smoke", "--probes", "allocation", "--floor", "none")
    code, stdout, stderr = bench("run", *words, "--out", tmp_path / "reports")
    assert code == 0, stderr
    assert "HighsMip" not in stdout
    folder = Path(stdout.strip().splitlines()[-1]).parent
    (record,) = (
        r
        for r in json.loads((folder / "run.json").read_text())["records"]
        if r["cell"]["scheme"]["budget"]
    )
    layers = {la["name"]: la for la in record["coverage"]["layers"] if la["weights"]}
    bits = {name: int(la["bits"][1]) for name, la in layers.items()}
    assert len(set(bits.values())) > 2
    assert sum(la["weights"] * bits[name] for name, la in layers.items()) <= 4.5 * sum(
        la["weights"] for la in layers.values()
    )
    probed = probe_record.read(folder / "probes.json")
    front = {r.where["layer"]: r.value for r in probed.rows("tiny", "layer_bits", budget=4.5)}
    assert front == bits
    assert "bits on average; of the weights" in (folder / "report.md").read_text()
    assert (folder / "figures" / "probe_allocation-01.png").is_file()


def test_a_budget_that_cannot_be_kept_ends_the_command(bench, cards, tmp_path):
    words = ("--cards", cards, "--scheme", "w~2.01a8", "--backend", "simulated", "--images", 4)
    code, stdout, stderr = bench("run", *words, "--floor", "none", "--out", tmp_path / "reports")
    assert (code, stdout) == (2, "")
    assert re.search(r"least mean that can be had is 2\.\d+ bits: raise the budget", stderr)
    assert not (tmp_path / "reports").exists()


@fashion
def test_command(bench, cards, tmp_path):
    words = ("--cards", cards, "--preset", "smoke", "--probes", "flatness,perturbation")
    out = tmp_path / "reports"
    code, stdout, stderr = bench("probe", *words, "--scheme", "w4a8", "--out", out)
    assert code == 0
    (folder,) = out.iterdir()
    assert stdout.strip() == str(folder / "probes.md")
    assert "tiny flatness, lpf: ok" in stderr
    found = json.loads((folder / "probes.json").read_text())
    names = {row["name"] for part in found["parts"] for row in part["rows"]}
    assert {"lpf", "lpf_rise", "lpf_relative", "epsilon_sharpness", "loss_rise"} <= names
    page = (folder / "probes.md").read_text()
    assert "| 1   | SAM reaches flatter minima" in page
    assert (folder / "figures" / "probe_loss.png").is_file()
    # A folder without a run is none for the other commands.
    code, _, stderr = bench("report", "--out", out)
    assert code == 2
    assert "no runs" in stderr


def test_command_refuses_bad_input(bench, cards, tmp_path):
    out = tmp_path / "reports"
    for words, reason in (
        (("--probes", "flatnes"), "did you mean 'flatness'"),
        (("--preset", "large"), "known: smoke, default"),
        (("--backend", "int8"), "unknown backend"),
        (("--checkpoints", "nothing"), "no checkpoint matches"),
        (("--run", "nothing"), "no run 'nothing'"),
    ):
        code, stdout, stderr = bench("probe", "--cards", cards, *words, "--out", out)
        assert (code, stdout) == (2, "")
        assert reason in stderr
        assert not out.exists()


def test_command_with_nothing_but_nan(bench, tmp_path):
    entry = write_card(tmp_path)
    weights = load_file(tmp_path / "tiny.safetensors")
    weights["unet.conv_in.weight"][0] = float("nan")
    save_file(weights, tmp_path / "tiny.safetensors")
    entry["sha256"] = store.sha256(tmp_path / "tiny.safetensors")
    out = tmp_path / "reports"
    cards = write_cards(tmp_path, [entry])
    words = ("--cards", cards, "--preset", "smoke", "--probes", "flatness", "--out", out)
    code, _, stderr = bench("probe", *words)
    assert code == 2
    assert "holds NaN" in stderr
    assert not out.exists()


@pytest.mark.slow
def test_a_run_is_explained(bench, tmp_path):
    # Other weights, said to be of one training seed: only such methods are compared.
    entries = [
        write_card(tmp_path, m, m, k) | {"seed": 0} for k, m in enumerate(("baseline", "sam"))
    ]
    cards, out = write_cards(tmp_path, entries), tmp_path / "reports"
    sizes = ("--images", "6", "--steps", "2", "--batch", "6", "--checkpoints", "*")
    words = ("--cards", cards, "--scheme", "w8a8", "--backend", "simulated", "--out", out)
    code, stdout, stderr = bench("run", *words, *sizes)
    assert code == 0, stderr
    (folder,) = (path.parent for path in out.glob("*/run.json"))
    words = ("--cards", cards, "--preset", "smoke", "--probes", "flatness", "--out", out)
    code, stdout, stderr = bench("probe", *words, "--run", folder.name)
    assert code == 0, stderr
    assert stdout.strip() == str(folder / "probes.md")
    page = (folder / "probes.md").read_text()
    assert "sam loses less" in page
    assert "delta_kd, w8a8 simulated" in page.replace("\\", "")
    report = (folder / "report.md").read_text()
    assert "## The paper's claims" in report
    assert "[probes.md](probes.md)" in report
