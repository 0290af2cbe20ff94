"""A source of another package: a format of its own, whose networks know sigma and no timestep."""

import itertools
import json

import numpy as np
import pytest
import torch
from helpers.tiny import write_cards

from bench.core import extensions
from bench.core.cell import Checkpoint, Draw
from bench.models.samplers.ddim import ddim
from bench.models.samplers.drawing import Batch, to_uint8
from bench.models.samplers.noise import image_generators


def loaded(edm_card, tmp_path):
    source = extensions.lookup("sources", "edm-npz")
    uri = str(tmp_path / edm_card["uri"])
    return source(Checkpoint("edm", "edm", "baseline", "edm-npz", uri, "", "fashion-mnist"))


def test_its_images_are_those_of_the_formulas(edm_card, tmp_path):
    """DDIM where variance explodes is Euler's method of Karras et al., written out here."""
    denoiser = loaded(edm_card, tmp_path)
    batch = Batch(denoiser, ddim, image_generators("images", 0, range(2)), Draw(steps=6))
    sigmas = [level.noise for level in batch.levels]
    assert sigmas[0] == pytest.approx(50.0) and sigmas[-1] == 0.0
    x, d = batch.x_T, 0.5
    again = torch.stack(
        [torch.randn(1, 28, 28, generator=g) for g in image_generators("images", 0, range(2))]
    )
    torch.testing.assert_close(x, 50 * again)
    with torch.no_grad():
        for sigma, after in itertools.pairwise(sigmas):
            total = sigma**2 + d**2
            c_noise = torch.full((2,), np.log(sigma) / 4, dtype=torch.float32)
            predicted = denoiser.model(x / total**0.5, c_noise)
            x_0 = d**2 / total * x + sigma * d / total**0.5 * predicted
            # DDIM bounds x_0 and keeps the noise.
            x = x_0.clamp(-1, 1) + after * (x - x_0) / sigma
    difference = batch.images().int() - to_uint8(x).int()
    assert difference.abs().max() <= 1


def test_the_command_quantizes_and_samples_it(edm_card, tmp_path, bench):
    cards = write_cards(tmp_path, [edm_card])
    words = ["run", "--scheme", "w8a8", "--backend", "simulated", "--checkpoints", "*"]
    words += ["--images", "4", "--steps", "3", "--batch", "2", "--metrics", "psnr"]
    code, _, stderr = bench(*words, "--cards", cards, "--out", tmp_path / "out")
    assert code == 0, stderr
    (path,) = (tmp_path / "out").glob("*/run.json")
    run = json.loads(path.read_text())
    reference, quantized = run["records"]
    assert reference["status"] == quantized["status"] == "ok"
    assert quantized["coverage"]["macs_by_bits"].keys() == {"w8a8"}
    (psnr,) = (m["value"] for m in quantized["measurements"] if m["name"] == "psnr@4")
    # Quantized, and not broken by it.
    assert 30 < psnr < 100
    assert run["fits"][0]["description"]["parametrization"] == "EDM"


def test_kernels_agree_and_the_quantized_network_is_read_back(edm_card, tmp_path):
    """Inputs other than (x, t) pass through calibration, storage and the check of the kernels."""
    from bench.core.scheme import Scheme
    from bench.models.samplers.trajectories import Trajectories
    from bench.quant.graph import inputs_of
    from bench.quant.kernels.agreement import measure
    from bench.quant.kernels.integer_layer import Reference
    from bench.quant.kernels.lowering import lower
    from bench.quant.simulate import simulate
    from bench.quant.stored import quantized

    denoiser = loaded(edm_card, tmp_path)
    scheme, graphs = Scheme.parse("w8a8"), []
    for _ in range(2):
        calibrate = Trajectories(denoiser, Draw(steps=10, batch=2), ddim, 2)
        calibrate.place = tmp_path / "place"
        graphs.append(quantized(denoiser, scheme, calibrate))
    first, second = (inputs_of(graph) for graph in graphs)
    assert len(first) == 3
    for one, other in zip(first, second, strict=True):
        assert [(x.shape, x.dtype) for x in one] == [
            ((2, 1, 28, 28), torch.float32), ((2,), torch.float32)
        ]  # fmt: skip
        assert all(torch.equal(x, y) for x, y in zip(one, other, strict=True))
    agreement = measure(lower(graphs[1], Reference), simulate(graphs[1]), second)
    assert agreement.worst_sqnr > 90


def test_a_file_of_another_kind_is_one_line(edm_card, tmp_path):
    from bench.core.errors import InputError

    (tmp_path / "network.npz").write_bytes(b"nothing")
    with pytest.raises(InputError, match="not such a file"):
        loaded(edm_card, tmp_path)
