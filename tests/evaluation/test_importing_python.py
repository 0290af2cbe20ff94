"""`bench import --network` and what follows, as a user types it: from weights to a report."""

import json
import re
import shutil
from pathlib import Path

import pytest
import torch
import yaml

from bench.models.sources import python_code
from bench.system import trust

NETWORKS = Path(__file__).parents[2] / "docs" / "networks"
BRANCHING = """
import torch
from torch import nn

class Net(nn.Module):
    def __init__(self, channels, width=3):
        super().__init__()
        self.conv = nn.Conv2d(channels, channels, width, padding=1)

    def forward(self, x, t):
        if x.abs().sum() < 0:
            return x
        return self.conv(x)
"""
SIZES = ("--images", "4", "--batch", "4", "--steps", "1", "--metrics", "psnr", "--floor", "none")
SET = ("--set", "sample_size=28", "--set", "channels=1")
DDIM = ("--set", "ch=8", "--set", "mult=[1, 2]", "--set", "blocks=1", "--set", "at=[14]")
UNET = ("--set", "dim=8", "--set", "dim_mults=[1, 2]")
SIT = (
    "--set",
    "patch=4",
    "--set",
    "width=16",
    "--set",
    "depth=1",
    "--set",
    "heads=2",
    "--set",
    "classes=3",
)
SIT += ("--set", "levels={kind: flow, told: reversed_time}", "--set", "predicts=velocity")
SIT += ("--set", "null_class=3")
EDM = ("--set", "width=8", "--set", "sides={28x28: 8, 14x14: 16}", "--set", "blocks=1")
EDM += ("--set", "at=14x14", "--set", "levels=edm")
KNOWN = {
    "ddim_model.py:Model": DDIM,
    "lucidrains_unet.py:Unet": UNET,
    "edm_songunet.py:SongUNet": EDM,
    "sit.py:sit": SIT,
}


@pytest.fixture
def folder(tmp_path, cache, monkeypatch):
    monkeypatch.chdir(tmp_path)
    yield tmp_path
    trust.allow(False)
    python_code.forget()


def save(function, words):
    """The weights of a network of a file here, as a trainer keeps them beside an average."""
    from bench.models.sources import python

    given = {word.partition("=")[0]: word.partition("=")[2] for word in words[1::2]}
    words = ("predicts", "schedule", "levels", "null_class")
    own = {k: yaml.safe_load(v) for k, v in given.items() if k not in words}
    plain = function in ("net.py:Net", "lucidrains_unet.py:Unet", "edm_songunet.py:SongUNet")
    more = {} if plain else {"sample_size": 28}
    trust.allow(True)
    network, _ = python.built(f"{Path.cwd()}/{function}", None, {"channels": 1, **more, **own})
    trust.allow(False)
    python_code.forget()
    torch.manual_seed(0)
    average = {name: torch.randn_like(v) / 5 for name, v in network.state_dict().items()}
    torch.save({"model": network.state_dict(), "ema": average, "step": 7}, "w.pt")


def imported(bench, function, *words):
    code, _, error = bench(
        "import", "w.pt", "--network", function, *SET, *words, "--trust-code", "--force"
    )
    assert code == 0, error
    return error


def measured(bench, *words):
    code, stdout, error = bench("run", "--cards", "w.yaml", *SIZES, "--trust-code", *words)
    assert code == 0, error
    place = Path(stdout.strip())
    return json.loads((place.parent / "run.json").read_text())["records"], place.read_text(), error


@pytest.mark.slow
@pytest.mark.parametrize("function", KNOWN)
def test_from_weights_to_a_report(bench, folder, function):
    shutil.copy(NETWORKS / function.partition(":")[0], folder)
    save(function, KNOWN[function])
    imported(bench, function, *KNOWN[function], "--set", "weights=ema")
    text = Path("w.yaml").read_text()
    assert "# torch.export traces the network" in text
    (card,) = yaml.safe_load(text)["checkpoints"]
    assert (card["source"], card["network"], card["method"]) == ("python", function, "ema")
    assert list(card["code"]) == [function.partition(":")[0]]
    records, page, _ = measured(bench, "--scheme", "w8a8", "--backend", "simulated")
    assert [r["status"] for r in records] == ["ok", "ok"]
    # What is left are products of activations: heads of 32 channels, in a network of 8 wide.
    share = 0.3 if "lucidrains" in function else 0.5
    assert records[1]["coverage"]["macs_quantized"] > share * records[1]["coverage"]["macs"]
    assert 5 < records[1]["measurements"][0]["value"] < 100
    assert "w8a8" in page.lower()
    # Nothing of the code is executed, or even there, where runs and cards are only read.
    Path(function.partition(":")[0]).unlink()
    for words in (("list",), ("report",)):
        assert bench(*words)[0] == 0
    code, _, error = bench("run", "--cards", "w.yaml", *SIZES, "--trust-code")
    assert (code, len(error.splitlines())) == (2, 2)


def test_what_cannot_be_traced_is_told_and_measured(bench, folder):
    Path("net.py").write_text(BRANCHING)
    save("net.py:Net", ())
    error = imported(bench, "net.py:Net", "--set", "weights=raw")
    told = r"torch.export cannot trace the network \(net.py, line 11 `if x.abs"
    assert re.search(told, error)
    assert re.search(f"# {told}", Path("w.yaml").read_text())
    backends = ("--backend", "simulated", "--backend", "int8-x86")
    records, page, error = measured(bench, "--scheme", "w8a8", *backends)
    assert [r["status"] for r in records] == ["ok", "ok", "refused"]
    assert re.search(told, records[2]["error"])
    assert "module by module, as torch.export cannot trace" in page


def test_code_must_be_allowed_and_unchanged(bench, folder):
    Path("net.py").write_text(BRANCHING)
    save("net.py:Net", ())
    words = ("import", "w.pt", "--network", "net.py:Net", *SET, "--set", "weights=raw")
    code, stdout, error = bench(*words)
    assert (code, stdout, len(error.splitlines())) == (2, "", 1)
    assert "--trust-code" in error
    for wrong, told in {
        "depth=3": "unexpected keyword argument 'depth'",
        "width=5": "the network gives [1, 26, 26]",
        "classes=many": "--set classes must be a whole number",
    }.items():
        code, stdout, error = bench(*words, "--set", wrong, "--trust-code", "--force")
        assert (code, stdout, len(error.splitlines())) == (2, "", 1)
        assert told in error
    assert not list(folder.glob("*.yaml")) + list(folder.glob("*.png"))
    imported(bench, "net.py:Net", "--set", "weights=raw")
    for verb in ("run", "check"):
        code, _, error = bench(verb, "--cards", "w.yaml")
        assert code == 2
        assert error.splitlines()[-1].endswith("read it, and say --trust-code")
    Path("net.py").write_text(BRANCHING + "# another\n")
    code, _, error = bench("check", "--cards", "w.yaml", "--trust-code")
    assert code == 2
    assert "the code was changed" in error
