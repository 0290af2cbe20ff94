"""Weights of a file in the place of a checkpoint's: exactly where they are rounded, in the
quantized network alone, and every file that does not fit is one line."""

import pytest
import torch
from helpers.toys import Replay, Toy, noisy
from safetensors.torch import load_file, save_file

from bench.core.denoiser import Denoiser
from bench.core.errors import InputError
from bench.core.noise_levels import NoiseLevels
from bench.core.record import run_from_json
from bench.core.scheme import Scheme
from bench.evaluation import keys
from bench.evaluation.given_weights import GivenWeights, tensors_of
from bench.models.schedules import alpha_bar
from bench.quant.graph import float_of, quantize_graph, told_by
from bench.quant.methods.applying import applied, check, prepared, refusal
from bench.quant.methods.rounded import rounded_layers
from bench.quant.simulate import simulate
from bench.quant.stored import quantized
from bench.quant.weight_rows import constant, dequantized
from bench.system import given_files

SIZES = ("--images", "4", "--batch", "4", "--steps", "1", "--metrics", "psnr")


@pytest.fixture(autouse=True)
def fresh():
    given_files.forget()


@pytest.fixture
def toy():
    with torch.random.fork_rng():
        torch.manual_seed(0)
        model = Toy().eval().requires_grad_(False)
    return Denoiser(model, NoiseLevels.discrete(alpha_bar("cosine")), "epsilon", (1, 6, 6))


@pytest.fixture
def batches():
    return noisy((1, 6, 6))


def rounded(weight, reach):
    """Weights near those of a network that are whole numbers of a step, at most `reach`."""
    wide = (-1, *(1,) * (weight.ndim - 1))
    steps = weight.abs().flatten(1).amax(1).view(wide) / reach
    return (weight / steps).round() * steps


def scheme_of(path, more=""):
    return Scheme.parse(f"w4a8+weights={path}{more}")


def changed(toy, batches, scheme):
    full = prepared(toy, scheme, batches)
    return applied(quantize_graph(toy, scheme, batches, full), toy, scheme, batches)


def test_rounded_weights_are_kept_exactly_and_others_to_nearest(toy, batches, tmp_path, capsys):
    own = {name: value.clone() for name, value in toy.model.state_dict().items()}
    given = {
        # Codes from -5 to 5 of 16, in 8 bits too as the first layer has, and no codes.
        "mix.weight": rounded(own["mix.weight"], 5),
        "first.weight": rounded(own["first.weight"], 6),
        "time.weight": own["time.weight"] + 0.01,
        "time.bias": own["time.bias"] - 1,
    }
    path = tmp_path / "w.safetensors"
    save_file(given, path)
    scheme = scheme_of(path)
    check(scheme, toy)
    graph = changed(toy, batches, scheme)
    layers = {each.layer.name: each for each in rounded_layers(graph)}
    for name in ("mix", "first"):
        made = dequantized(graph, layers[name].node)
        assert torch.allclose(made, given[f"{name}.weight"], rtol=1e-6, atol=0)
        assert torch.equal(layers[name].weight, given[f"{name}.weight"])
    # The others as weights of a checkpoint are rounded.
    plain = quantize_graph(toy, Scheme.parse("w4a8"), batches, prepared(toy, scheme, batches))
    nearest = {each.layer.name: each.node for each in rounded_layers(plain)}["time"]
    made = dequantized(graph, layers["time"].node)
    assert torch.equal(made, dequantized(plain, nearest))
    assert not torch.allclose(made, given["time.weight"], atol=1e-4)
    assert torch.equal(layers["last"].weight, own["last.weight"])
    assert told_by(graph)["weights"].startswith("4 of 7 tensors from the file, ")
    assert told_by(graph)["weights"].endswith(
        "; 2 layers rounded already and kept exactly, 1 rounded to nearest; 1 with the "
        "checkpoint's own weights"
    )
    assert capsys.readouterr().err == f"bench: weights: {told_by(graph)['weights']}\n"
    # Full precision is the card's, and the float graph that was calibrated is the file's.
    assert all(torch.equal(own[name], value) for name, value in toy.model.state_dict().items())
    twin = Toy().eval()
    twin.load_state_dict({**own, **given})
    x, t = batches[0]
    with torch.no_grad():
        assert torch.allclose(float_of(graph)(x, t), twin(x, t), atol=1e-6)
        assert not torch.allclose(float_of(graph)(x, t), toy.model(x, t), atol=1e-2)


def test_it_equals_a_checkpoint_of_these_weights(toy, batches, tmp_path):
    """To the bit, where nothing of the file is rounded already."""
    path = tmp_path / "w.safetensors"
    moved = {name: value * 1.1 + 0.003 for name, value in toy.model.state_dict().items()}
    save_file(moved, path)
    graph = changed(toy, batches, scheme_of(path))
    other = Denoiser(Toy().eval().requires_grad_(False), toy.levels, "epsilon", (1, 6, 6))
    other.model.load_state_dict(moved)
    plain = quantize_graph(other, Scheme.parse("w4a8"), batches)
    x, t = batches[0]
    with torch.no_grad():
        assert torch.equal(graph(x, t), plain(x, t))


def test_a_channel_that_is_rounded_is_kept_beside_one_that_is_not(toy, batches, tmp_path):
    weight = toy.model.mix.weight.clone()
    weight[:6] = rounded(weight[:6], 3)
    path = tmp_path / "w.safetensors"
    save_file({"mix.weight": weight}, path)
    graph = changed(toy, batches, scheme_of(path))
    plain = prepared(toy, scheme_of(path), batches)
    plain = quantize_graph(toy, Scheme.parse("w4a8"), batches, plain)
    mine, nearest = (
        dequantized(g, next(e for e in rounded_layers(g) if e.layer.name == "mix").node)
        for g in (graph, plain)
    )
    assert torch.allclose(mine[:6], weight[:6], rtol=1e-6)
    assert torch.equal(mine[6:], nearest[6:])
    assert (
        "0 layers rounded already and kept exactly, 0 rounded to nearest; 1 in part"
        in (told_by(graph)["weights"])
    )


def test_later_methods_see_the_file_s_weights(toy, batches, tmp_path):
    path = tmp_path / "w.safetensors"
    save_file({"mix.weight": rounded(toy.model.mix.weight, 5)}, path)
    alone, with_bias = (changed(toy, batches, scheme_of(path, w)) for w in ("", "+bias"))
    layers = [{e.layer.name: e for e in rounded_layers(graph)} for graph in (alone, with_bias)]
    # Exact weights leave no error to take from the bias.
    before, after = (
        constant(graph, found["mix"].node.args[2])
        for graph, found in zip((alone, with_bias), layers, strict=True)
    )
    assert torch.allclose(before, after, atol=1e-6)
    assert layers[1]["first"].node.args[2].target == f"{layers[1]['first'].layer.node}_bias"


def test_a_second_look_is_the_same_graph_and_tells_the_same(toy, batches, tmp_path):
    path = tmp_path / "w.safetensors"
    save_file({"mix.weight": rounded(toy.model.mix.weight, 5), "time.bias": torch.ones(4)}, path)
    kept = Replay(batches)
    kept.place = tmp_path / "place"
    first, second = (quantized(toy, scheme_of(path), kept) for _ in range(2))
    x, t = batches[0]
    with torch.no_grad():
        assert torch.equal(simulate(first)(x, t), simulate(second)(x, t))
    assert told_by(first) == told_by(second) and told_by(first)["weights"]
    assert len(list((tmp_path / "place").iterdir())) == 2


@pytest.mark.parametrize("prefix", ["", "unet.", "model.", "module.", "ema_model.unet."])
def test_names_may_have_words_in_front(prefix, tmp_path):
    own = {"unet.conv_in.weight": torch.zeros(2, 1), "unet.mid.0.bias": torch.zeros(2)}
    given = {f"{prefix}conv_in.weight": torch.ones(2, 1), f"{prefix}mid.0.bias": torch.ones(2)}
    path = tmp_path / "w.pt"
    torch.save({"state_dict": given} if prefix == "model." else given, path)
    assert set(tensors_of(path, own)) == set(own)


def refused(toy, path):
    with pytest.raises(InputError) as caught:
        check(scheme_of(path), toy)
    assert "\n" not in str(caught.value)
    return str(caught.value)


def test_a_file_that_does_not_fit_is_one_line(toy, tmp_path):
    good = toy.model.mix.weight.clone()

    def says(tensors, name="w.safetensors"):
        given_files.forget()
        save_file(tensors, tmp_path / name)
        return refused(toy, tmp_path / name)

    assert "1 of 2 tensors are none of this network: mixed.weight; its names are like" in says(
        {"mix.weight": good, "mixed.weight": good.clone()}
    )
    assert "2 of 2 tensors are none of this network" in says({"a.b": good, "c.d": good.clone()})
    assert "mix.weight has shape [12, 4], and that of the network [12, 4, 1, 1]" in says(
        {"mix.weight": good.flatten(1)}
    )
    assert "mix.weight holds NaN" in says({"mix.weight": good * torch.nan})
    assert "mix.weight is stored in int8" in says({"mix.weight": good.to(torch.int8)})
    assert "holds mix.weight twice" in says({"mix.weight": good, "x.mix.weight": good.clone()})
    ours = toy.model.state_dict()
    torch.save({"model": ours, "ema": {k: v + 1 for k, v in ours.items()}}, tmp_path / "two.pt")
    assert "weight twice, under two prefixes: keep one" in refused(toy, tmp_path / "two.pt")
    unet = {"conv_in.weight": torch.ones(2), "time_embedding.linear_1.weight": torch.ones(2)}
    torch.save({"model": unet, "ema": {k: v + 1 for k, v in unet.items()}}, tmp_path / "kinds.pt")
    says_of_it = refused(toy, tmp_path / "kinds.pt")
    assert "several networks, model, ema: save the state_dict of one alone" in says_of_it
    (tmp_path / "page.pt").write_text("<html>")
    assert "is a page of the web" in refused(toy, tmp_path / "page.pt")
    assert "no such file" in refused(toy, tmp_path / "none.pt")
    assert "no such file" in refused(toy, tmp_path)
    torch.save(toy.model, tmp_path / "whole.pt")
    assert "its pickle calls helpers.toys.Toy" in refused(toy, tmp_path / "whole.pt")
    with pytest.raises(InputError, match="needs a file: write weights=FILE"):
        GivenWeights()


def test_it_is_the_first_method(tmp_path):
    path = tmp_path / "w.pt"
    path.write_bytes(b"x")
    reason = refusal(Scheme.parse(f"w4a8+bias+weights={path}"))
    assert reason == "method weights: it comes before bias: name it first"
    assert refusal(scheme_of(path, "+bias")) is None


def test_a_file_that_changes_during_a_run_is_an_error(toy, batches, tmp_path):
    path = tmp_path / "w.safetensors"
    save_file({"mix.weight": toy.model.mix.weight.clone()}, path)
    entries = [("methods", f"weights:{path}")]
    before = keys.identities(entries)
    save_file({"mix.weight": toy.model.mix.weight + 1}, path)
    assert keys.identities(entries) == before
    with pytest.raises(RuntimeError, match=r"w\.safetensors was changed since the command began"):
        prepared(toy, scheme_of(path), batches)


def test_from_the_command_line_to_the_report(bench, cards, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    own = load_file(tmp_path / "tiny.safetensors")
    weights = {
        name.removeprefix("unet."): rounded(value, 5)
        for name, value in own.items()
        if value.ndim > 1
    }
    torch.save({"model_ema": weights}, "theirs.pt")
    words = ("run", "--cards", cards, *SIZES, "--out", "out", "--backend", "simulated")
    code, _, error = bench(*words, "--bits", "4", "--weights-from", "theirs.pt")
    assert code == 0, error
    (path,) = tmp_path.glob("out/*/run.json")
    run = run_from_json(path.read_text(encoding="utf-8"))
    full, plain, mine = run.records
    schemes = [str(record.cell.scheme) for record in run.records]
    assert schemes == ["fp32", "w4a8", "w4a8+weights=theirs.pt"]
    assert plain.measurement("psnr").value != mine.measurement("psnr").value
    assert full.cell.checkpoint.sha256 == mine.cell.checkpoint.sha256
    told = mine.coverage.told["weights"]
    assert "51 of 144 tensors from the file" in told and "0 rounded to nearest; 0 with" in told
    assert f"bench: weights: {told}" in error and not plain.coverage.told
    digest = given_files.sha256(tmp_path / "theirs.pt")
    assert mine.host.versions["methods weights sha256"] == digest
    report = (path.parent / "report.md").read_text(encoding="utf-8")
    assert f"weights=theirs.pt SHA-256 {digest[:8]}. tiny, weights: {told}" in report
    # Beside its own weights, and refused before anything is computed where it does not fit.
    torch.save({"nothing": torch.zeros(3)}, "bad.pt")
    code, out, error = bench(*words, "--bits", "4", "--weights-from", "bad.pt", "--out", "no")
    assert (code, out) == (2, "") and "1 of 1 tensors are none of this network" in error
    assert not (tmp_path / "no").exists()
