"""`bench speed` on the tiny network: what it says, not how fast it is."""

import json

import pytest
import torch

from bench.core.cell import Draw
from bench.core.errors import InputError
from bench.evaluation.speed import Job, build, measure, working_memory
from bench.models.cards import load_cards, verify
from bench.system.host import instruction_set

DRAW = Draw(steps=2, batch=3)


@pytest.fixture
def card(cards):
    return verify(load_cards(cards)[0])


@pytest.mark.slow
def test_every_execution_is_timed(card):
    found = measure(card, [("w4a8", "simulated")], DRAW, rounds=3)
    assert [timing.execution for timing in found] == ["float32", "bfloat16", "w4a8 simulated"]
    full, half, simulated = found
    assert full.speedup == 1 and full.batch == 3
    assert half.weights * 2 == full.weights == simulated.weights
    for timing in found:
        assert 0 < timing.low <= timing.milliseconds <= timing.high
        assert timing.images_per_second > 0


def test_working_memory_grows_with_the_batch(card):
    small, large = (
        working_memory(Job(card, "fp32", "float32", Draw(steps=2, batch=batch)))
        for batch in (1, 200)
    )
    # One map of 8 channels at 14 x 14 of 200 images is 1.25 MB.
    assert large > small + 1_000_000


def test_bfloat16_computes_in_bfloat16(card):
    full, half = (
        build(Job(card, "fp32", name, DRAW))[0].model for name in ("float32", "bfloat16")
    )
    x, t = torch.randn(3, 1, 28, 28), torch.full((3,), 500)
    with torch.inference_mode():
        y, z = full(x, t), half(x, t)
    assert z.dtype == torch.float32
    assert not torch.equal(y, z) and torch.allclose(y, z, atol=0.1)


def test_a_refused_execution_is_an_error(card):
    with pytest.raises(InputError, match="int8-cuda needs an NVIDIA GPU"):
        build(Job(card, "w8a8", "int8-cuda", DRAW))


def test_command(bench, cards, monkeypatch):
    # A process for each execution is tested above.
    monkeypatch.setattr("bench.evaluation.speed._in_a_process", lambda job: 4321)
    words = ["speed", "--scheme", "w4a8", "--batches", "2", "--steps", "2", "--rounds", "2"]
    words += ["--cards", cards]
    code, stdout, stderr = bench(*words)
    assert code == 0 and "batch 2" in stderr
    assert " s of forward passes, then a process for each" in stderr
    lines = stdout.splitlines()
    assert lines[0].startswith("| Execution ") and "1.00x" in lines[2]
    assert "4.3 kB" in lines[2]
    assert any(line.startswith("| w4a8 simulated") for line in lines)
    kernels = any(line.startswith("| w4a8 int8-x86") for line in lines)
    assert kernels == instruction_set().startswith(("avx", "amx"))
    code, stdout, _ = bench(*words, "--backend", "simulated", "--format", "json")
    assert code == 0
    found = json.loads(stdout)
    assert [timing["execution"] for timing in found["timings"]][-1] == "w4a8 simulated"
    assert found["host"]["isa"] == instruction_set()


@pytest.mark.parametrize(
    ("words", "says"),
    [
        (["--batches", "0"], "--batches takes counts"),
        (["--rounds", "1"], "--rounds must be at least 2"),
        (["--format", "pdf"], "markdown, json"),
        (["--checkpoint", "none"], "none"),
        (["--backend", "int9"], "int9"),
        (["--scheme", "w4a16", "--backend", "int8-x86"], "integer activations"),
    ],
)
def test_bad_input(bench, cards, words, says):
    code, stdout, stderr = bench("speed", *words, "--cards", cards)
    assert code == 2 and stdout == ""
    assert says in stderr.splitlines()[-1]
