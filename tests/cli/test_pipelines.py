"""Prompted pipelines from the command line to a report; killed and repeated gives the same."""

import json

import pytest
from helpers import random_clip, tiny_pipelines
from helpers.tiny import write_card, write_cards

from bench.models.pipelines.loop import PipelineLoop

SIZES = ("--images", "4", "--batch", "4", "--steps", "2", "--floor", "none")
SIZES += ("--metrics", "psnr")


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """Pipelines of SD and FLUX with their cards."""
    folder = tmp_path_factory.mktemp("pipelines")
    (folder / "p.txt").write_text("a red cat\ntwo dogs\nthe sea at night\n", encoding="utf-8")
    entries = [tiny_pipelines.card(folder, name, prompts="p.txt") for name in ("sd", "flux")]
    write_cards(folder, entries)
    return folder


@pytest.fixture
def run(bench, folder, tmp_path):
    """Run `bench run` on one of them; (exit code, run.json or None, stdout, stderr)."""

    def called(name, *words, out="reports"):
        place = tmp_path / out
        which = ("--cards", str(folder / "checkpoints.yaml"), "--checkpoints", f"tiny-{name}")
        code, stdout, stderr = bench("run", *which, *words, "--out", str(place))
        runs = sorted(place.glob("*/run.json")) if place.exists() else []
        return code, json.loads(runs[-1].read_text()) if runs else None, stdout, stderr

    return called


def measured(run):
    """Value of each measurement by scheme, backend and name."""
    return {
        (record["cell"]["backend"], each["name"].partition("@")[0]): each["value"]
        for record in run["records"]
        for each in record["measurements"]
    }


@pytest.mark.parametrize("name", [pytest.param("sd", marks=pytest.mark.slow), "flux"])
def test_a_pipeline_goes_from_its_folder_to_a_report(name, run, tmp_path, monkeypatch):
    random_clip.save(tmp_path / "clip")
    monkeypatch.setenv("BENCH_CLIP_SCORE", str(tmp_path / "clip"))
    backends = ("simulated", "ao-int8", "bnb-int8")
    words = [word for backend in backends for word in ("--backend", backend)]
    code, made, stdout, _ = run(name, "--scheme", "w8a8", *words, *SIZES[:-1], "psnr,clip_score")
    assert code == 0
    assert [record["status"] for record in made["records"]] == ["ok"] * 4
    network = "unet" if name == "sd" else "transformer"
    for record in made["records"]:
        draw = record["cell"]["draw"]
        assert (draw["sampler"], draw["guidance"]) == ("pipeline", 7.5 if name == "sd" else 3.5)
        if record["cell"]["backend"] != "float":
            told = record["coverage"]["told"]["pipeline"]
            assert told.startswith(f"only the {network} of the ")
            assert "vae stay in float32" in told
            assert 0 < record["coverage"]["macs_quantized"] < record["coverage"]["macs"]
    values = measured(made)
    for backend in backends:
        # Quantized, and still the same pictures.
        assert 25 < values[backend, "psnr"] < 90
        # Metrics of prompts are given those of the images.
        assert values[backend, "delta_clip_score"] != 0
    report = stdout.strip().splitlines()[-1]
    with open(report, encoding="utf-8") as stream:
        text = stream.read()
    assert "3 (p.txt), image i has prompt i mod 3" in text
    assert f"only the {network} of the" in text


def test_killed_and_repeated_gives_the_same_numbers(run, monkeypatch, cache, tmp_path):
    words = ("--scheme", "w8a8", "--backend", "ao-int8", "--batch", "2", *SIZES[:2], *SIZES[4:])
    _, whole, _, _ = run("flux", *words, out="whole")
    monkeypatch.setenv("BENCH_CACHE", str(tmp_path / "other"))
    sample, calls = PipelineLoop.images, []

    def killed(self, *arguments):
        calls.append(arguments)
        if len(calls) == 4:
            raise KeyboardInterrupt
        return sample(self, *arguments)

    monkeypatch.setattr(PipelineLoop, "images", killed)
    code, made, _, _ = run("flux", *words, out="again")
    assert (code, made) == (130, None)
    assert len(list((tmp_path / "other" / "images").glob("*/*.npy"))) == 3
    code, made, _, _ = run("flux", *words, out="again")
    assert code == 0
    # The first three batches were kept; only the last was missing.
    assert len(calls) == 5
    assert measured(made) == measured(whole)


def test_a_dry_run_tells_the_plan_and_samples_nothing(run, cache):
    code, made, stdout, _ = run("flux", "--scheme", "w8a8", *SIZES, "--dry-run")
    assert (code, made) == (0, None)
    assert "FluxPipeline: 3 prompts, 2 steps, 2 evaluations of its transformer" in stdout
    assert "weights in float32: text_encoder" in stdout
    assert not (cache / "images").exists()


@pytest.mark.parametrize(
    ("words", "told"),
    [
        (("--sampler", "heun"), "samples by its own scheduler: leave --sampler out"),
        (("--spacing", "trailing"), "leave --spacing out"),
        (("--guidance", "2", "--guidance-interval", "1,2"), "leave --guidance-interval out"),
        (("--metrics", "+kernel"), "metric kernel compares with real images"),
        (("--prompts", "absent.txt"), "absent.txt"),
        (("--prompts", "/dev/null"), "/dev/null"),
        (("--scheme", "w8a8+tgroups=2"), "ranges cannot switch with the timestep"),
    ],
)
def test_bad_input_in_one_line(words, told, run):
    code, made, stdout, stderr = run("flux", "--scheme", "w8a8", *SIZES, *words)
    assert (code, made, stdout) == (2, None, "")
    assert told in stderr.splitlines()[-1]


def test_cards_that_name_what_is_not_there(bench, tmp_path):
    def refused(**fields):
        fields = {"name": "it", "family": "it", "method": "baseline", **fields}
        cards = write_cards(tmp_path, [{"source": "pipeline", "dataset": "none", **fields}])
        code, _, stderr = bench("run", "--cards", str(cards), "--bits", "8")
        assert code == 2
        return stderr.splitlines()[-1]

    (tmp_path / "empty").mkdir()
    assert "no folder" in refused(uri="absent")
    assert "holds no model_index.json" in refused(uri="empty")
    commit = "fedcba9876543210" * 2 + "fedcba98"
    absent = refused(uri="hf:nobody/nothing", revision=commit)
    assert "hf:nobody/nothing at fedcba987654 is not in the cache of the hub" in absent
    assert "pinned revision" in refused(uri="hf:nobody/nothing")
    assert "source pipeline has them" in refused(
        uri="x.safetensors", source="safetensors", dataset="cifar10", prompts="p.txt"
    )
    assert "unknown 'none'" in refused(uri="x.safetensors", source="safetensors")


def test_prompts_are_of_pipelines_alone(bench, tmp_path):
    cards = write_cards(tmp_path, [write_card(tmp_path)])
    code, _, stderr = bench("run", "--cards", str(cards), "--bits", "8", "--prompts", "p.txt")
    assert code == 2
    assert "--prompts is for pipelines" in stderr.splitlines()[-1]


@pytest.mark.parametrize("verb", ["speed", "probe"])
def test_what_takes_no_pipelines_yet_says_so(verb, bench, folder):
    words = ("--cards", str(folder / "checkpoints.yaml"), "--checkpoints", "tiny-flux")
    code, _, stderr = bench(verb, *words)
    assert code == 2
    assert "card 'tiny-flux' is a pipeline" in stderr.splitlines()[-1]


def test_import_says_how_a_pipeline_is_named(bench, folder):
    code, _, stderr = bench("import", str(folder / "flux"), "--dataset", "cifar10")
    assert code == 2
    assert "source: pipeline and dataset: none" in stderr.splitlines()[-1]
