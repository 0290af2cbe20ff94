"""Pipelines in half precision are those of diffusers loaded in it; it stands in key and record."""

import pytest
import torch
from helpers import tiny_pipelines

from bench.core.cell import PIPELINE, Cell, Checkpoint, Draw
from bench.core.errors import InputError, NotExecuted
from bench.core.record import Host
from bench.core.scheme import Scheme
from bench.evaluation import floors, keys, piped
from bench.models.pipelines import folder, known
from bench.models.samplers.loop_trajectories import LoopTrajectories
from bench.models.samplers.noise import image_generators
from bench.models.sources import pipeline
from bench.quant.backends.full_precision import FullPrecision
from bench.quant.backends.linear_only import AoInt8, BnbInt8, BnbNf4
from bench.quant.backends.simulated import Simulated
from bench.quant.layers import untraceable
from bench.system.host import fingerprint

PROMPTS = ("a red cat", "two dogs")
DRAW = Draw(sampler=PIPELINE, spacing=PIPELINE, steps=2, images=2, batch=2, guidance=4.0)
HOST = Host("here", "cpu", "avx2", 1, {})


@pytest.fixture(scope="module")
def place(tmp_path_factory):
    place = tmp_path_factory.mktemp("pipelines")
    (place / "prompts.txt").write_text("\n".join(PROMPTS), encoding="utf-8")
    return place


def card(place, name, dtype):
    where = tiny_pipelines.saved(place, name)
    words = name, name, "baseline", PIPELINE, str(where), folder.digest(where), "none"
    given = {**tiny_pipelines.OPTIONS[name], "dtype": dtype}
    return Checkpoint(*words, config=given, prompts=str(place / "prompts.txt"))


@pytest.fixture(scope="module")
def flux(place, tmp_path_factory):
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("BENCH_CACHE", str(tmp_path_factory.mktemp("kept")))
        return pipeline.load(card(place, "flux", "bfloat16"))


def sample(denoiser):
    return denoiser.loop.images(denoiser.model, "images", DRAW, (0, 1)).int()


@pytest.mark.parametrize(
    ("name", "dtype"),
    [("sdxl", "bfloat16"), ("flux", "bfloat16"), ("sana", "bfloat16"), ("sd3", "float16")],
)
def test_images_are_those_of_diffusers_own_call(name, dtype, place):
    import diffusers

    made = sample(pipeline.load(card(place, name, dtype)))
    own = diffusers.DiffusionPipeline.from_pretrained(
        place / name, torch_dtype=getattr(torch, dtype)
    )
    own.set_progress_bar_config(disable=True)
    images = own(
        prompt=list(PROMPTS),
        generator=image_generators("images", 0, range(2)),
        num_inference_steps=2,
        guidance_scale=4.0,
        output_type="np",
        **tiny_pipelines.OPTIONS[name],
    ).images
    own = torch.from_numpy((images * 255).round()).permute(0, 3, 1, 2).int()
    assert int((made - own).abs().max()) <= 1
    assert made.float().std() > 10


def test_the_type_is_in_the_draw_and_in_the_keys(place):
    cells = [
        piped.fitted(Cell(card(place, "flux", dtype), Scheme(), "float", DRAW), ())
        for dtype in ("float32", "bfloat16")
    ]
    assert [cell.draw.dtype for cell in cells] == ["float32", "bfloat16"]
    host = fingerprint()
    assert keys.of_images(cells[0], host) != keys.of_images(cells[1], host)
    # The floor of bfloat16 is of float32 alone.
    quantized = [Cell(c.checkpoint, Scheme.parse("w8a8"), "ao-int8", c.draw) for c in cells]
    assert len(floors.beside([cells[0], quantized[0]], "batch,bf16", HOST)) == 4
    with pytest.raises(InputError, match="is computed in bfloat16 itself"):
        floors.beside([cells[1], quantized[1]], "batch,bf16", HOST)
    assert len(floors.beside([cells[1], quantized[1]], "batch", HOST)) == 3


def test_a_type_that_is_none_is_refused():
    with pytest.raises(InputError, match="dtype must be float32, bfloat16, float16, not 'half'"):
        known.check_config({"dtype": "half"})


@pytest.mark.parametrize("backend", [AoInt8, BnbInt8, BnbNf4, Simulated])
def test_backends_quantize_it(backend, flux):
    pytest.importorskip(getattr(backend, "package", "torch"))
    before, calibration = sample(flux), LoopTrajectories(flux.loop, DRAW, 2)
    scheme = Scheme.parse(getattr(backend, "bits", "w8a8"))
    made = backend()(flux, scheme, calibration)
    error = (sample(made.denoiser) - before).double().square().mean().item()
    assert 0 < error < 300
    coverage = made.coverage
    assert {layer.bits for layer in coverage.layers} == {"bf16", str(scheme)}
    assert 0.4 < coverage.share < 1
    # Weights in float take two bytes.
    floats = coverage.params - coverage.params_quantized
    codes = coverage.params_quantized * scheme.weight_bits // 8
    assert 0 < coverage.bytes - 2 * floats - codes < coverage.params_quantized
    assert made.denoiser.model(*flux.example_inputs(2)).dtype == torch.bfloat16


def test_what_needs_the_graph_says_that_it_is_of_float32(flux):
    assert untraceable(flux, 2) == (
        "the one graph takes networks in float32, and this one is in bfloat16"
    )
    calibration = LoopTrajectories(flux.loop, DRAW, 2)
    with pytest.raises(NotExecuted, match="this one is in bfloat16: methods"):
        Simulated()(flux, Scheme.parse("w8a8+gptq"), calibration)
    made = FullPrecision("batch")(flux, Scheme(), calibration)
    assert made.coverage.kernel == "bfloat16 in half batches"
    with pytest.raises(NotExecuted, match="in bfloat16 itself"):
        FullPrecision("bf16")(flux, Scheme(), calibration)
