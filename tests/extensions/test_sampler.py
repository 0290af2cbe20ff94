"""A sampler of another package: one module and one line of its entry points."""

import json
import math
from pathlib import Path

import pytest
import torch
from helpers.entry_point import install
from helpers.tiny import write_cards

from bench.core import extensions
from bench.core.denoiser import Denoised
from bench.core.noise_levels import CLEAN, NoiseLevels
from bench.models.schedules import alpha_bar

MODULE = Path(__file__).with_name("karras_heun.py").read_text()
POINTS = "[bench.samplers]\nkarras-heun = karras_heun:heun\n"
MEAN, DEVIATION = 0.2, 0.25
LEVELS = {
    "preserving": NoiseLevels.discrete(alpha_bar("linear")),
    "exploding": NoiseLevels.sigmas(0.002, 80.0),
    "flow": NoiseLevels.flow(),
}


@pytest.fixture
def heun(site):
    install(site, "karras-heun", POINTS, module="karras_heun", text=MODULE)
    return extensions.lookup("samplers", "karras-heun")


def denoise(x, level):
    """E[x_0 | x] of white Gaussian data, whatever the levels."""
    x = x.double()
    power = level.signal**2 * DEVIATION**2 + level.noise**2
    gain = level.signal * DEVIATION**2 / power
    x_0 = MEAN + gain * (x - level.signal * MEAN)
    return Denoised(x_0, (x - level.signal * x_0) / level.noise, 0.0)


def error(heun, levels, steps):
    """Largest distance of a pixel from the exact end of its flow."""
    walked = heun.choose(levels, steps)
    start, first = torch.linspace(-3, 3, 50).view(1, 1, 5, 10), walked[0]
    x_T = levels.deviation(first) * start
    sigma, y = first.noise / first.signal, x_T.double() / first.signal
    # Along the flow of a Gaussian, y - mean grows as sqrt(deviation^2 + sigma^2).
    exact = MEAN + DEVIATION / math.hypot(DEVIATION, sigma) * (y - MEAN)
    found = heun(denoise, x_T, walked, lambda: pytest.fail("it takes no random steps"))
    return float((found - exact).abs().max())


@pytest.mark.parametrize("convention", ["exploding", "flow"])
def test_it_is_exact_to_second_order_on_a_gaussian(heun, convention):
    few, many = (error(heun, LEVELS[convention], steps) for steps in (80, 160))
    assert many < 1e-3
    assert few / many == pytest.approx(4, rel=0.1)


def test_it_takes_the_nearest_of_discrete_levels(heun):
    assert error(heun, LEVELS["preserving"], 80) < 5e-3
    walked = heun.choose(LEVELS["preserving"], 80)
    indices = [level.index for level in walked]
    assert indices == sorted(set(indices), reverse=True) and walked[-1] is CLEAN


def test_the_command_samples_by_it(heun, edm_card, tmp_path, bench):
    cards = write_cards(tmp_path, [edm_card])
    words = ["run", "--scheme", "w8a8", "--backend", "simulated", "--checkpoints", "*"]
    words += ["--images", "4", "--steps", "3", "--batch", "2", "--metrics", "psnr"]
    places = ["--cards", cards, "--out", tmp_path / "out"]
    code, _, stderr = bench(*words, *places, "--sampler", "karras-heun")
    assert code == 0, stderr
    (path,) = (tmp_path / "out").glob("*/run.json")
    for record in json.loads(path.read_text())["records"]:
        assert record["status"] == "ok", record["error"]
        assert record["cell"]["draw"]["sampler"] == "karras-heun"
