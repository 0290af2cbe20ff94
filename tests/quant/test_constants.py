import torch
from helpers.toys import Toy, noisy

from bench.core.denoiser import Denoiser
from bench.core.noise_levels import NoiseLevels
from bench.core.scheme import Scheme
from bench.models.schedules import alpha_bar
from bench.quant.constants import constants
from bench.quant.graph import quantize_graph
from bench.quant.simulate import simulate


def test_layers_quantized_one_by_one_are_the_simulation():
    from bench.measurement.probes.sensitivity import only

    torch.manual_seed(0)
    model = Toy().eval().requires_grad_(False)
    denoiser = Denoiser(model, NoiseLevels.discrete(alpha_bar("cosine")), "epsilon", (1, 8, 8))
    pairs = noisy((1, 8, 8))
    graph = quantize_graph(denoiser, Scheme.parse("w4a8"), pairs)
    found = constants(graph)
    layers = [layer for layer in found if layer.error is not None]
    assert [layer.name for layer in layers] == ["first", "time", "mix", "last"] or {
        layer.name for layer in layers
    } == {"first", "time", "mix", "last"}
    x, t = pairs[0]
    with torch.inference_mode():
        expected = simulate(graph)(x, t)
        together = only(denoiser, layers).model(x, t)
        alone = only(denoiser, layers[:1]).model(x, t)
        exact = model(x, t)
    torch.testing.assert_close(together, expected, rtol=1e-4, atol=1e-5)
    assert not torch.allclose(alone, exact)
    assert not torch.allclose(alone, expected)


def test_errors_are_within_half_a_step():
    torch.manual_seed(0)
    model = Toy().eval().requires_grad_(False)
    denoiser = Denoiser(model, NoiseLevels.discrete(alpha_bar("cosine")), "epsilon", (1, 8, 8))
    graph = quantize_graph(denoiser, Scheme.parse("w4a8+all"), noisy((1, 8, 8)))
    layers = {layer.name: layer for layer in constants(graph)}
    weight = model.mix.weight
    step = weight.abs().amax((1, 2, 3), keepdim=True) / 7.5
    assert (layers["mix"].error.abs() <= step * 0.5 + 1e-6).all()
    assert layers["mix"].error.abs().max() > 0
    assert layers["mix"].macs == 4 * 12 * 64
    scale, _, low, high = layers["mix"].ranges[0]
    assert (low, high) == (0, 255)
    assert scale > 0
