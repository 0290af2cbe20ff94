import pytest
import torch

from bench.core import extensions
from bench.core.record import Host
from bench.core.scheme import Scheme
from bench.quant.backends import linear_only
from bench.quant.backends.quanto import QuantoInt4, QuantoInt8

HOST = Host("here", "cpu", "avx2", 1, {})
BACKENDS = {QuantoInt8: (40, "int8"), QuantoInt4: (8, "int4")}


@pytest.mark.parametrize("backend", BACKENDS)
def test_it_quantizes_linear_layers(backend, tiny, batches):
    pytest.importorskip("optimum.quanto")
    x, t = batches[0]
    made = backend()(tiny, Scheme.parse(backend.bits), batches)
    with torch.inference_mode():
        full, output = tiny.model(x, t), made.denoiser.model(x, t)
    noise = (output - full).square().sum()
    assert BACKENDS[backend][0] < 10 * torch.log10(full.square().sum() / noise) < 90
    coverage = made.coverage
    assert 0 < coverage.share < 0.2
    assert ("unet.conv_in", "optimum-quanto quantizes linear layers only") in coverage.skipped
    # Codes take a quarter or an eighth of the weights, and steps are added.
    full_size = sum(p.nbytes for p in tiny.model.parameters())
    saved = coverage.params_quantized * (32 - Scheme.parse(backend.bits).weight_bits) / 8
    assert full_size - saved < coverage.bytes_memory < full_size - saved / 2


@pytest.mark.parametrize("backend", BACKENDS)
def test_layers_are_those_that_diffusers_makes(backend, tmp_path):
    pytest.importorskip("optimum.quanto")
    diffusers = pytest.importorskip("diffusers")
    torch.manual_seed(0)
    network = diffusers.PixArtTransformer2DModel(
        sample_size=8,
        num_layers=1,
        patch_size=2,
        attention_head_dim=8,
        num_attention_heads=4,
        caption_channels=32,
        in_channels=4,
        cross_attention_dim=32,
        out_channels=8,
        use_additional_conditions=False,
    )
    network.save_pretrained(tmp_path)
    config = diffusers.QuantoConfig(weights_dtype=BACKENDS[backend][1])
    theirs = diffusers.PixArtTransformer2DModel.from_pretrained(
        tmp_path, quantization_config=config
    )
    ours = network.eval()
    names = [n for n, m in ours.named_modules() if type(m) is torch.nn.Linear]
    for name in names:
        linear_only.replace_layer(ours, name, backend().make)
    inputs = {
        "hidden_states": torch.randn(2, 4, 8, 8),
        "encoder_hidden_states": torch.randn(2, 5, 32),
        "timestep": torch.tensor([3, 7]),
        "added_cond_kwargs": {"resolution": None, "aspect_ratio": None},
    }
    with torch.no_grad():
        assert torch.equal(ours(**inputs).sample, theirs.eval()(**inputs).sample)


@pytest.mark.parametrize("backend", BACKENDS)
def test_refusals(backend, monkeypatch):
    assert f"executes {backend.bits} only" in backend().refuses(Scheme.parse("w8a8"), HOST)
    assert extensions.lookup("backends", backend.kernel) is backend
    monkeypatch.setattr(linear_only, "find_spec", lambda name: None)
    reason = backend().refuses(Scheme.parse(backend.bits), HOST)
    assert reason == f"{backend.kernel} needs optimum-quanto: pip install optimum-quanto"
