"""Quantized text encoders of pipelines, from the command line to the record."""

import json
from dataclasses import replace

import numpy as np
import pytest
import torch
from helpers import tiny_pipelines
from helpers.tiny import write_card, write_cards

from bench.core.cell import Cell, Checkpoint, Draw
from bench.core.errors import InputError, NotExecuted
from bench.core.scheme import Scheme
from bench.quant.backends.linear_only import AoInt8
from bench.quant.encoders import Encoders

SIZES = ("--images", "2", "--batch", "2", "--steps", "2", "--floor", "none", "--metrics", "psnr")
ALSO = ("--also", "text_encoder")
CARD = Checkpoint("sd", "sd", "baseline", "pipeline", "sd", "00", "none")
CELL = Cell(CARD, Scheme(8, 8), "ao-int8", Draw())


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    folder = tmp_path_factory.mktemp("pipelines")
    (folder / "p.txt").write_text("a red cat\ntwo dogs\n", encoding="utf-8")
    write_cards(folder, [tiny_pipelines.card(folder, "sd", prompts="p.txt")])
    return folder


@pytest.fixture
def run(bench, folder, tmp_path):
    """Run `bench run`; (exit code, records by backend, stderr)."""

    def called(*words):
        place = tmp_path / f"reports{len(list(tmp_path.iterdir()))}"
        cards = ("--cards", str(folder / "checkpoints.yaml"))
        code, _, stderr = bench("run", *cards, *SIZES, *words, "--out", str(place))
        runs = sorted(place.glob("*/run.json")) if place.exists() else []
        records = json.loads(runs[-1].read_text())["records"] if runs else []
        return code, {record["cell"]["backend"]: record for record in records}, stderr

    return called


def images(cache):
    """Kept images by folder, and names of kept encodings."""
    made = {path.parent.name: np.load(path) for path in cache.glob("images/*/00000.npy")}
    return made, {path.name for path in cache.glob("encoded/*/*")}


def test_text_encoders_are_quantized_where_asked(run, cache):
    words = ("--scheme", "w8a8", "--backend", "ao-int8")
    code, plain, _ = run(*words)
    assert code == 0
    before, encoded = images(cache)
    code, both, stderr = run(*words, *ALSO)
    assert code == 0
    assert "w8a8+also=text_encoder" in stderr
    after, more = images(cache)
    # The reference and the cell of float encoders stay as they are; one cell is new.
    assert set(before) < set(after) and len(after) == len(before) + 1
    (new,) = set(after) - set(before)
    assert all((after[key] == before[key]).all() for key in before)
    assert not any(np.array_equal(after[new], image) for image in before.values())
    # Prompts were encoded anew, under keys of their own.
    assert encoded < more
    assert both["float"] == plain["float"]
    record, other = both["ao-int8"], plain["ao-int8"]
    assert (record["status"], record["cell"]["scheme"]["also"]) == ("ok", ["text_encoder"])
    told = record["coverage"]["told"]["pipeline"]
    assert (
        "so are its text encoders (of the weights of their linear layers 100.0% of text_enc"
        in told
    )
    assert "vae stays in float32" in told
    assert "text_encoder, vae stay in float32" in other["coverage"]["told"]["pipeline"]
    assert record["coverage"]["macs_quantized"] == other["coverage"]["macs_quantized"]
    # Where prompts are kept, no encoder is loaded, and the record says the same.
    for path in (*cache.glob("records/*"), *cache.glob(f"images/{new}/*")):
        path.unlink()
    _, again, _ = run(*words, *ALSO)
    assert images(cache)[1] == more
    assert (images(cache)[0][new] == after[new]).all()
    assert again["ao-int8"]["coverage"] == record["coverage"]


def test_four_bits(run):
    code, made, _ = run("--scheme", "w4a16", "--backend", "bnb-nf4", *ALSO)
    assert code == 0
    assert "100.0% of text_encoder)" in made["bnb-nf4"]["coverage"]["told"]["pipeline"]


def test_other_backends_refuse_in_a_row(run):
    backends = ("--backend", "simulated", "--backend", "ao-int8")
    code, made, _ = run("--scheme", "w8a8", *backends, *ALSO)
    assert (code, made["ao-int8"]["status"]) == (0, "ok")
    # There is no simulation that kernels could be held against.
    assert made["ao-int8"]["cell"]["metrics"] == ["psnr"]
    assert made["simulated"]["status"] == "refused"
    assert "simulated quantizes no text encoders: leave --also out" in made["simulated"]["error"]


@pytest.mark.parametrize(
    ("words", "told"),
    [
        (("--also", "vae"), "--also vae: of a pipeline text_encoder alone"),
        (("--also", "text_encoder,text_encoder"), "there twice"),
        (("--scheme", "w8a8+also=text_encoder"), "ask for it by --also text_encoder"),
    ],
)
def test_bad_input_in_one_line(words, told, run):
    code, made, stderr = run("--scheme", "w8a8", "--backend", "ao-int8", *words)
    assert (code, made) == (2, {})
    assert told in stderr.splitlines()[-1]


def test_networks_without_text_encoders_are_refused(bench, tmp_path):
    cards = write_cards(tmp_path, [write_card(tmp_path)])
    code, _, stderr = bench("run", "--cards", str(cards), "--bits", "8", *ALSO)
    assert code == 2
    assert "--also is for pipelines" in stderr.splitlines()[-1]


def test_the_scheme_and_its_key():
    scheme = Scheme(8, 8, also=("text_encoder",))
    assert str(scheme) == "w8a8+also=text_encoder"
    assert "beside the network also: text_encoder" in scheme.explain()
    with pytest.raises(InputError, match="in full precision nothing is quantized"):
        Scheme(also=("text_encoder",))
    keys = {replace(CELL, scheme=one).key({}) for one in (scheme, Scheme(8, 8), Scheme())}
    assert len(keys) == 3
    # Full precision keeps its encoders.
    assert replace(CELL, scheme=scheme).reference == replace(CELL, scheme=Scheme()).reference


def test_layers_that_transformers_keeps_in_float_stay():
    class Encoder(torch.nn.Module):
        _keep_in_fp32_modules = ("wo",)

        def __init__(self):
            super().__init__()
            self.wi, self.wo = torch.nn.Linear(32, 96), torch.nn.Linear(32, 32)

    encoder, change = Encoder(), Encoders(AoInt8())
    plain = encoder.wi.weight
    assert change("t", encoder, True) == 0.75
    assert encoder.wi.weight is plain
    change("t", encoder, False)
    assert encoder.wi.weight is not plain and type(encoder.wo.weight) is torch.nn.Parameter
    del encoder.wi
    with pytest.raises(NotExecuted, match="replaces no layer of t: wo is a layer that transf"):
        change("t", encoder, True)
    with pytest.raises(NotExecuted, match="ao-int8 replaces no layer of t: it has no linear"):
        change("t", torch.nn.Sequential(torch.nn.Conv2d(3, 3, 1)), True)
