"""`bench import` of state dicts under other authors' names, and what follows: to a report."""

import json
import pickle
import re
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
import yaml
from helpers.author_shapes import edm2_shapes, edm_shapes, sit_shapes
from helpers.authors import randoms
from helpers.folders import UNET, UNet2DModel, save_decoder
from helpers.pictures import encode, write_folder

SIZES = ("--images", "4", "--batch", "4", "--steps", "1", "--metrics", "psnr", "--floor", "none")
REAL = ("--dataset", "folder:real", "--force")
FLOW = ("--set", "levels={kind: flow, told: reversed_time}", "--set", "predicts=velocity")
SIT = ("--set", "num_heads=3", *FLOW)
# Source, weights, what must be said, and whether torch's file holds two kinds of them.
KNOWN = {
    "edm": (edm_shapes("ddpm++"), ()),
    "edm2": (edm2_shapes(3), ("--set", "null_class=3")),
    "sit": (sit_shapes(), SIT),
}


@pytest.fixture
def folder(tmp_path, cache, monkeypatch):
    monkeypatch.chdir(tmp_path)
    pixels = np.random.default_rng(0).integers(0, 256, (8, 8, 8, 3), np.uint8)
    write_folder(tmp_path / "real", {f"{k}.png": encode(p) for k, p in enumerate(pixels)})
    return tmp_path


def save(source):
    """Weights as their authors' trainings keep them, raw ones beside an average."""
    stem = "model." if source == "edm" else ""
    state, average = (randoms(KNOWN[source][0], seed) for seed in (0, 1))
    named = [{f"{stem}{name}": value for name, value in each.items()} for each in (state, average)]
    torch.save({"model": named[0], "ema": named[1], "opt": {"step": 3}}, "w.pt")


@pytest.mark.parametrize("source", KNOWN)
def test_the_card_says_what_was_read(bench, folder, source):
    save(source)
    words = KNOWN[source][1]
    code, _, error = bench("import", "w.pt", *words, "--set", "weights=ema", *REAL)
    assert code == 0, error
    text = Path("w.yaml").read_text()
    (card,) = yaml.safe_load(text)["checkpoints"]
    assert (card["source"], card["method"], card["dataset"]) == (source, "ema", "folder:real")
    assert card["config"]["levels"]["kind"] == ("flow" if source == "sit" else "edm")
    assert "shape" not in card["config"] and "learns_variance" not in card["config"]
    assert re.search("# assumed: the network is (EDM's SongUNet|EDM2's UNet|a SiT or DiT)", text)
    code, _, error = bench("check", "--cards", "w.yaml", "--force")
    assert code == 0, error


def test_latents_have_a_decoder_beside_the_weights(bench, folder):
    """Four channels of 4 x 4, decoded to 8 x 8 pixels."""
    weights = randoms(sit_shapes(8, side=2, channels=4))
    torch.save(weights, "w.pt")
    code, _, error = bench("import", "w.pt", *SIT, *REAL)
    assert code == 2 and "lay the folder of its decoder beside the weights" in error
    save_decoder(folder)
    code, _, error = bench("import", "w.pt", *SIT, *REAL, "--set", "decoder=vae")
    assert code == 0, error
    (card,) = yaml.safe_load(Path("w.yaml").read_text())["checkpoints"]
    assert set(card["config"]["decoder"]) == {"folder", "sha256"}
    with Path("vae/diffusion_pytorch_model.safetensors").open("ab") as stream:
        stream.write(b"0")
    code, _, error = bench("check", "--cards", "w.yaml")
    assert code == 2 and "decoder: vae has" in error


def test_settings_of_these_are_refused_elsewhere(bench, folder):
    network = UNet2DModel(**UNET)
    torch.save(network.state_dict(), "w.pt")
    for words, told in (
        ("classes=3", "--set classes: of edm"),
        ("decoder=vae", "--set decoder: of"),
    ):
        code, _, error = bench("import", "w.pt", "--set", "sample_size=16", "--set", words, *REAL)
        assert code == 2 and told in error


@pytest.mark.slow
@pytest.mark.parametrize("source", [*KNOWN, "ncsn++", "sit of latents"])
def test_from_weights_to_a_report(bench, folder, source):
    if source in KNOWN:
        save(source)
        words = KNOWN[source][1]
    elif source == "ncsn++":
        torch.save({"ema": randoms(edm_shapes("ncsn++", 3))}, "w.pt")
        words = ()
    else:
        torch.save({"ema": randoms(sit_shapes(8, side=2, channels=4))}, "w.pt")
        save_decoder(folder)
        words = (*SIT, "--set", "decoder=vae")
    assert bench("import", "w.pt", *words, "--set", "weights=ema", *REAL)[0] == 0
    backends = ("--backend", "simulated", "--backend", "int8-x86")
    code, stdout, error = bench("run", "--cards", "w.yaml", *SIZES, "--scheme", "w8a8", *backends)
    assert code == 0, error
    page = Path(stdout.strip())
    records = json.loads((page.parent / "run.json").read_text())["records"]
    assert [r["status"] for r in records] == ["ok", "ok", "ok"], records
    for record in records[1:]:
        assert record["coverage"]["macs_quantized"] > 0.8 * record["coverage"]["macs"]
        assert 5 < record["measurements"][0]["value"] < 100
    assert "w8a8" in page.read_text().lower()


@pytest.mark.parametrize(
    ("source", "words", "told"),
    [
        ("edm", ("--set", "sample_size=28"), "--set sample_size: the weights of EDM tell it"),
        ("edm", ("--set", "attention_order=new"), "--set attention_order: the weights of EDM"),
        ("sit", FLOW, "num_heads is missing"),
        ("sit", SIT[:2], "--set levels='{kind: flow, told: reversed_time}' and predicts=velocity"),
    ],
)
def test_what_weights_tell_or_do_not_tell(bench, folder, source, words, told):
    save(source)
    code, stdout, error = bench("import", "w.pt", "--set", "weights=ema", *words, *REAL)
    assert (code, stdout, len(error.splitlines())) == (2, "", 1)
    assert told in error
    assert not list(folder.glob("*.yaml"))


AUTHORS_CODE = """
import torch

def _reconstruct_persistent_obj(state):
    made = EDMPrecond()
    made.__dict__.update(state)
    return made

class EDMPrecond(torch.nn.Module):
    def __reduce__(self):
        return _reconstruct_persistent_obj, (dict(self.__dict__),)
"""


@pytest.mark.parametrize("kind", ["edm", "edm2"])
def test_the_two_lines_for_a_pickle_write_what_is_then_read(bench, folder, kind, monkeypatch):
    """The pickle is one of a class that is rebuilt by code, in a folder as the authors have it."""
    code = folder / "theirs"
    (code / "torch_utils").mkdir(parents=True)
    (code / "torch_utils" / "persistence.py").write_text(AUTHORS_CODE)
    shapes = edm_shapes("adm") if kind == "edm" else edm2_shapes()
    prefix = "model." if kind == "edm" else ""
    torch.save({f"{prefix}{k}": v for k, v in randoms(shapes).items()}, "state.pt")
    path = folder / "network-snapshot.pkl"
    with monkeypatch.context() as changed:
        changed.syspath_prepend(code)
        from torch_utils import persistence

        net = persistence.EDMPrecond()
        for name, value in torch.load("state.pt").items():
            *way, last = name.split(".")
            module = net
            for word in way:
                if word not in module._modules:
                    module.add_module(word, torch.nn.Module())
                module = module._modules[word]
            module.register_buffer(last, value)
        path.write_bytes(pickle.dumps({"ema": net}))
    for name in ("torch_utils.persistence", "torch_utils"):
        del sys.modules[name]
    status, _, error = bench("import", path)
    assert status == 2 and len(error.splitlines()) == 1
    first, second = re.search(
        r": (ema = pickle.*\['ema'\]), then (torch.save\(.*'\))", error
    ).groups()
    lines = f"import pickle, torch\n{first}\n{second}".replace("PATH", repr(str(path)))
    subprocess.run([sys.executable, "-c", lines], cwd=code, check=True)
    (code / "weights.pt").rename(folder / "weights.pt")
    status, _, error = bench("import", "weights.pt", *REAL)
    assert status == 0, error
    (card,) = yaml.safe_load(Path("weights.yaml").read_text())["checkpoints"]
    assert card["source"] == kind
    with pytest.raises(ModuleNotFoundError):
        pickle.loads(path.read_bytes())
