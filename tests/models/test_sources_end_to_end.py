"""What people have, from a file to a report, as a user types it: each a tiny random instance."""

import json
from pathlib import Path

import numpy as np
import pytest
import torch
from helpers import random_inception
from helpers.adm_reference import Flags, weights
from helpers.folders import save_decoder, save_dit, save_unet
from PIL import Image

from bench.measurement.features import inception
from bench.system.quiet import quiet_import

with quiet_import():
    from diffusers import DDPMScheduler

SIZES = ["--checkpoints", "*", "--scheme", "w8a8", "--images", "6", "--steps", "2", "--batch", "3"]


@pytest.fixture
def faces(tmp_path):
    """A folder of real images of 16 x 16 pixels; twenty of the test split."""
    random, folder = np.random.default_rng(0), tmp_path / "faces"
    (folder / "test").mkdir(parents=True)
    (folder / "train").mkdir()
    for k in range(20):
        image = random.integers(0, 256, (16, 16, 3), np.uint8)
        Image.fromarray(image).save(folder / "test" / f"{k:02d}.png")
        Image.fromarray(255 - image).save(folder / "train" / f"{k:02d}.png")
    return f"folder:{folder}"


def adm_file(folder):
    flags = Flags(size=16, multiples=(1, 2), blocks=1, attention=(8,), head=16)
    torch.save(weights(flags), folder / "model.pt")
    return "model.pt", ["--set", "sample_size=16", "--set", "attention_head_dim=16"]


def classes_and_velocity(folder):
    scheduler = DDPMScheduler(prediction_type="v_prediction", variance_type="fixed_large")
    save_unet(folder / "model", num_class_embeds=10, scheduler=scheduler)
    return "model", []


def transformer(folder):
    save_dit(folder / "model")
    return "model", []


def latent_unet(folder):
    save_unet(folder / "model", sample_size=8, in_channels=4, out_channels=4)
    save_decoder(folder / "model")
    return "model", []


@pytest.mark.parametrize(
    ("make", "sampler", "more"),
    [
        pytest.param(adm_file, "ddpm", ["--backend", "simulated"], marks=pytest.mark.slow),
        (classes_and_velocity, "ddpm", ["--backend", "simulated"]),
        # In simulation and, where this host has them, in integer kernels.
        (transformer, "ddim", []),
        (latent_unet, "ddim", ["--backend", "simulated"]),
    ],
)
def test_from_file_to_report(bench, tmp_path, faces, make, sampler, more):
    name, words = make(tmp_path)
    assert bench("reference", faces, "efficientnet")[0] == 0
    code, _, stderr = bench("import", tmp_path / name, "--force", "--dataset", faces, *words)
    assert code == 0, stderr
    out, cards = tmp_path / "reports", tmp_path / "model.yaml"
    code, stdout, stderr = bench(
        "run", *SIZES, "--sampler", sampler, "--cards", cards, "--out", out, *more
    )
    assert code == 0, stderr
    run = json.loads((Path(stdout.strip()).parent / "run.json").read_text())
    assert [record["status"] for record in run["records"]] == ["ok"] * len(run["records"])
    for quantized in run["records"][1:]:
        assert quantized["coverage"]["macs_quantized"] > 0.5 * quantized["coverage"]["macs"]
        found = {m["name"]: m["value"] for m in quantized["measurements"]}
        # Quantized images are near their twins and not the same.
        assert 10 < found["psnr@6"] < 100
    strip = Image.open(next((Path(stdout.strip()).parent / "samples").glob("*float.png")))
    assert strip.size == (6 * 16, 16)


def test_labels_and_images_depend_on_the_seed_alone(tmp_path):
    from bench.core.cell import Checkpoint, Draw
    from bench.models.samplers.ddim import ddim
    from bench.models.samplers.drawing import images
    from bench.models.samplers.noise import image_generators, uniform_labels
    from bench.models.sources.diffusers_folder import load

    save_unet(tmp_path / "model", num_class_embeds=10)
    card = Checkpoint("c", "c", "baseline", "diffusers", str(tmp_path / "model"), "", "cifar10")
    denoiser = load(card)
    drawn = uniform_labels(denoiser.classes, image_generators("images", 0, range(200)), "cpu")
    assert set(drawn.tolist()) == set(range(10))
    assert torch.equal(
        drawn[50:60],
        uniform_labels(denoiser.classes, image_generators("images", 0, range(50, 60)), "cpu"),
    )
    draw = Draw(steps=2, images=4, batch=4)
    together = images(denoiser, ddim, image_generators("images", 0, range(4)), draw)
    alone = images(denoiser, ddim, image_generators("images", 0, range(3, 4)), draw)
    assert (together[3:].int() - alone.int()).abs().max() <= 1


def test_images_of_another_size_are_refused_before_sampling(bench, tmp_path, monkeypatch):
    save_unet(tmp_path / "model")
    bench("import", tmp_path / "model", "--force", "--dataset", "fashion-mnist")
    words = ["--cards", tmp_path / "model.yaml", "--out", tmp_path / "out", "--checkpoints", "*"]
    code, stdout, stderr = bench("run", *SIZES, *words)
    assert (code, stdout) == (2, "")
    assert "makes images of shape [3, 16, 16], those of fashion-mnist have [1, 28, 28]" in stderr
    assert not (tmp_path / "out").exists()


@pytest.fixture
def random_weights(tmp_path, monkeypatch):
    folder = tmp_path / "weights"
    folder.mkdir()
    monkeypatch.setattr(inception, "SHA256", random_inception.write(folder))
    # So that what the command line sets is taken back.
    monkeypatch.setenv(inception.VARIABLE, str(folder))
    # Cleared as the extractors of other tests hold other weights.
    for kept in (inception.script, inception.network):
        kept.cache_clear()
    from bench.evaluation import extraction

    extraction.extractor.cache_clear()
    yield folder
    extraction.extractor.cache_clear()
    for kept in (inception.script, inception.network):
        kept.cache_clear()


def write_suite(path, dataset):
    path.write_text(
        f"dataset: {dataset}\nreal: train\n"
        "extractors: [inception-legacy-pytorch, inception-classes]\n"
        "metrics: [frechet, inception_score, psnr]\nsampler: ddim\nspacing: linspace\n"
        "steps: [1, 2]\nimages: 6\nreported:\n  source: a paper\n  ema: {2 steps: 4.25}\n"
    )


@pytest.mark.slow
def test_a_suite_with_statistics_of_someone_else(bench, tmp_path, faces, random_weights):
    save_unet(tmp_path / "model")
    bench("import", tmp_path / "model", "--force", "--dataset", faces, "--set", "weights=ema")
    suite, out, cards = tmp_path / "s.yaml", tmp_path / "out", tmp_path / "model.yaml"
    write_suite(suite, faces)
    words = ["--suite", suite, "--cards", cards, "--scheme", "w8a8", "--batch", "3", "--out", out]
    words += ["--inception", random_weights]
    code, _, stderr = bench("run", *words)
    assert code == 2 and "make them with `bench reference" in stderr

    npz = tmp_path / "pytorch_fid.npz"
    np.savez(npz, mu=np.zeros(2048), sigma=np.eye(2048))
    take = ["--split", "train", "--from", npz, "--inception", random_weights]
    code, _, stderr = bench("reference", faces, "inception-spatial", *take)
    assert code == 2 and "holds no mu_s and sigma_s" in stderr
    assert bench("reference", faces, "inception-legacy-pytorch", *take)[0] == 0

    code, stdout, _ = bench("run", *words, "--dry-run")
    assert code == 0
    for word in ("of features", "B in the cache", "whatever the number of images"):
        assert stdout.count(word) == 2
    code, stdout, stderr = bench("run", *words)
    assert code == 0, stderr
    assert "fid_legacy_pytorch@6: below 2,048 images" in stderr
    runs = [json.loads((Path(p).parent / "run.json").read_text()) for p in stdout.split()]
    assert [run["records"][0]["cell"]["draw"]["steps"] for run in runs] == [1, 2]
    record = runs[1]["records"][1]
    found = {m["name"] for m in record["measurements"]}
    assert found == {
        "fid_legacy_pytorch@6",
        "delta_fid_legacy_pytorch@6",
        "is@6",
        "delta_is@6",
        "psnr@6",
    }
    assert record["cell"]["checkpoint"]["reported"] == {"FID, 2 steps": 4.25}
    report = Path(stdout.split()[1]).read_text()
    assert "FID, 2 steps 4.25" in report
    assert "| Change of FID (legacy PyTorch) |" in " ".join(report.split())
    assert "FID (legacy PyTorch) (fid_legacy_pytorch@N) is biased" in report
    assert "not comparable with published figures" in report
    code, _, stderr = bench("run", *words, "--metrics", "kernel")
    assert code == 2 and "--suite fixes" in stderr
    plain = ["--cards", cards, "--inception", random_weights, "--real", "train", *SIZES]
    plain += ["--checkpoints", "*", "--extractors", "inception-legacy-pytorch"]
    code, _, stderr = bench("run", *plain, "--metrics", "frechet,kernel")
    assert code == 2 and "kernel need the features of real images" in stderr


@pytest.mark.parametrize("name", ["cifar10", "lsun-tower", "ffhq", "fashion-mnist"])
def test_the_suites_are_whole(name):
    from bench.evaluation import suite

    found = suite.find(name)
    assert found.steps == (20, 100)
    methods = {"ip", "sam", "ema", "swa", "baseline", "ip+ema", "ip+swa", "sam+ema", "sam+swa"}
    if name != "fashion-mnist":
        assert set(found.reported) == {"source", *methods}
        assert found.images == 50_000


def test_figures_of_the_paper():
    from bench.evaluation import suite

    found = {name: suite.find(name).reported for name in ("cifar10", "lsun-tower", "ffhq")}
    assert found["cifar10"]["baseline"]["20 steps at 8 bits"] == 48.02
    assert found["cifar10"]["sam+swa"] == {"20 steps": 7.27, "100 steps": 2.96}
    assert found["lsun-tower"]["sam"]["100 steps"] == 4.79
    assert found["ffhq"]["ip+swa"]["100 steps"] == 3.54


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("- 3", "a suite is a mapping"),
        ("a: [", "not a readable YAML"),
        ("dataset: cifar10", "field real: missing"),
        ("colour: red", "field colour: unknown"),
    ],
)
def test_bad_suites(bench, tmp_path, text, words):
    path = tmp_path / "s.yaml"
    path.write_text(text)
    code, stdout, stderr = bench("run", "--suite", path)
    assert (code, stdout) == (2, "") and words in stderr


def test_fetch_without_a_network(bench, monkeypatch, cache):
    def refuse(url, timeout):
        raise OSError("no network")

    monkeypatch.setattr("urllib.request.urlopen", refuse)
    code, stdout, stderr = bench("fetch", "inception")
    assert (code, stdout) == (2, "")
    assert "put it at" in stderr.splitlines()[-1]
    assert list(cache.rglob("*.pt")) == []
    assert bench("fetch", "everything")[0] == 2


def test_fetch_keeps_only_what_is_published(bench, monkeypatch, cache, tmp_path):
    monkeypatch.setattr(inception, "URLS", {"a.pt": (tmp_path / "a.pt").as_uri()})
    (tmp_path / "a.pt").write_bytes(b"weights")
    monkeypatch.setattr(inception, "SHA256", {"a.pt": "0" * 64})
    code, stdout, stderr = bench("fetch")
    assert (code, stdout) == (2, "") and "not kept" in stderr
    from bench.system import store

    monkeypatch.setattr(inception, "SHA256", {"a.pt": store.sha256(tmp_path / "a.pt")})
    code, stdout, _ = bench("fetch")
    assert code == 0
    assert Path(stdout.strip()).read_bytes() == b"weights"


@pytest.mark.slow
def test_fd_dinov2_and_cmmd_from_file_to_report(bench, tmp_path, faces, monkeypatch):
    pytest.importorskip("transformers", reason="the extra `transformers` is not installed")
    from helpers.random_vision import save_clip, save_dinov2

    from bench.evaluation import extraction

    extraction.extractor.cache_clear()
    monkeypatch.setenv("BENCH_DINOV2", str(tmp_path / "dinov2"))
    monkeypatch.setenv("BENCH_CLIP", str(tmp_path / "clip"))
    save_dinov2(tmp_path / "dinov2")
    save_clip(tmp_path / "clip")
    save_unet(tmp_path / "model")
    bench("import", tmp_path / "model", "--force", "--dataset", faces)
    assert bench("reference", faces, "dinov2", "clip")[0] == 0
    words = ["--cards", tmp_path / "model.yaml", "--out", tmp_path / "out", *SIZES]
    words += ["--backend", "simulated", "--extractors"]

    def figures(first, *more):
        code, stdout, stderr = bench("run", *words, first, *more)
        assert code == 0, stderr
        report = Path(stdout.strip())
        run = json.loads((report.parent / "run.json").read_text())
        found = {m["name"]: m for m in run["records"][1]["measurements"]}
        versions = run["records"][1]["host"]["versions"]
        for name in first.split(","):
            assert versions[name].startswith(f"folder {name} (")
        assert "transformers" in versions
        return found, report.read_text()

    found, report = figures("dinov2,clip", "--metrics", "+cmmd")
    assert {"fd_dinov2@6", "kd_dinov2@6", "cmmd@6", "delta_cmmd@6"} <= set(found)
    assert not {"fd_clip@6", "cmmd_dinov2@6"} & set(found)
    assert found["cmmd@6"]["value"] > 0
    assert found["delta_cmmd@6"]["low"] < found["delta_cmmd@6"]["value"]
    assert "| FD-DINOv2 | Change of FD-DINOv2 | KD-DINOv2 |" in " ".join(report.split())
    own, report = figures("clip", "--metrics", "+cmmd")
    assert own["cmmd@6"] == found["cmmd@6"]
    assert "| CMMD |" in " ".join(report.split()) and "no such bias" not in report

    # Other weights: neither their reference features nor cached features of the first ones.
    save_dinov2(tmp_path / "dinov2", seed=1)
    extraction.extractor.cache_clear()
    code, stdout, stderr = bench("run", *words, "dinov2")
    assert (code, stdout) == (2, "") and "make it anew with `bench reference" in stderr
    assert bench("reference", faces, "dinov2")[0] == 0
    other, _ = figures("dinov2")
    assert other["fd_dinov2@6"]["value"] != found["fd_dinov2@6"]["value"]
    extraction.extractor.cache_clear()


@pytest.mark.parametrize(
    ("extractors", "metrics", "words"),
    [
        ("clip", "frechet", "extractor clip: none of the metrics takes what it gives"),
        ("efficientnet", "+cmmd", "metric cmmd: none of the extractors gives what it takes"),
    ],
)
def test_metrics_that_measure_nothing_are_refused(bench, tmp_path, extractors, metrics, words):
    out = tmp_path / "out"
    code, stdout, stderr = bench(
        "run", *SIZES, "--extractors", extractors, "--metrics", metrics, "--out", out
    )
    assert (code, stdout) == (2, "") and words in stderr.splitlines()[-1]
    assert not out.exists()
