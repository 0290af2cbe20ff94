import torch

from bench.core.scheme import Scheme
from bench.quant.coverage import measure
from bench.quant.layers import export, plan


def layers(denoiser, words, size=2):
    x = torch.zeros(size, *denoiser.shape)
    return plan(
        export(denoiser.model, x, torch.zeros(size, dtype=torch.int64)), Scheme.parse(words)
    )


def covered(denoiser, found, kernel):
    return measure(denoiser, found, kernel, {layer.node: layer.operator for layer in found})


# Toy on 6 x 6 pixels: 36 positions, 4 channels.
FIRST = 36 * 4 * 1 * 9
TIME = 3 * 4
MIX = 36 * 12 * 4
PRODUCTS = 2 * 36 * 36 * 4
LAST = 36 * 1 * 4 * 9
WEIGHTS = {"first": 36, "time": 12, "mix": 48, "last": 36}
BIASES = 4 + 4 + 12


def test_macs_by_hand(toy):
    by_name = {}
    for layer in layers(toy, "fp32"):
        by_name[layer.name] = by_name.get(layer.name, 0) + layer.macs
    products = sum(by_name.pop(name) for name in list(by_name) if name not in WEIGHTS)
    assert by_name == {"first": FIRST, "time": TIME, "mix": MIX, "last": LAST}
    assert products == PRODUCTS


def test_macs_do_not_depend_on_the_batch(toy):
    assert [la.macs for la in layers(toy, "fp32", 1)] == [la.macs for la in layers(toy, "fp32", 5)]


def test_float_coverage(toy):
    coverage = covered(toy, layers(toy, "fp32"), "none")
    assert coverage.macs == FIRST + TIME + MIX + PRODUCTS + LAST
    assert coverage.params == sum(WEIGHTS.values()) + BIASES
    assert coverage.bytes == 4 * coverage.params
    assert coverage.macs_quantized == coverage.params_quantized == 0
    assert coverage.share == 0
    assert coverage.macs_by_bits == {}
    assert coverage.skipped == ()


def test_quantized_coverage(toy):
    coverage = covered(toy, layers(toy, "w3a8"), "simulated")
    assert coverage.macs_by_bits == {"w8a8": FIRST + LAST, "w3a8": TIME + MIX}
    assert coverage.macs_quantized == coverage.macs - PRODUCTS
    assert coverage.params_quantized == 132
    # 12 weights of 3 bits are 4.5 bytes, packed into 5; scales for 4 + 4 + 12 + 1 channels.
    assert coverage.bytes == (36 + 5 + 18 + 36) + 4 * 21 + 4 * BIASES
    assert coverage.skipped
    assert {reason for _, reason in coverage.skipped} == {
        "product of two activations, as in attention"
    }


def test_skipped_layers_are_listed(toy):
    coverage = covered(toy, layers(toy, "w4a8+skip=ti*"), "simulated")
    assert ("time", "skip=ti*") in coverage.skipped
    assert coverage.macs_quantized == FIRST + MIX + LAST


def test_activation_only_quantizes_no_weights(toy):
    coverage = covered(toy, layers(toy, "w16a8"), "simulated")
    assert coverage.macs_quantized == coverage.params_quantized == 0
    assert coverage.macs_by_bits == {"w16a8": FIRST + TIME + MIX + LAST}
    assert coverage.bytes == 4 * coverage.params


def test_attention_of_the_network_is_counted(tiny):
    # Four attentions of 16 channels on 2 x 2 positions: 2 products of 4 x 4 x 16 each.
    attention = [layer for layer in layers(tiny, "w4a8") if layer.weights == 0]
    assert [layer.macs for layer in attention] == [2 * 4 * 4 * 16] * 4
    assert attention[1].name == "unet.mid_block.attentions.0"


def test_convolution_with_stride_and_groups():
    class Model(torch.nn.Module):
        def __init__(self):
            super().__init__()
            self.grouped = torch.nn.Conv2d(4, 8, 3, stride=2, padding=1, groups=2)
            self.up = torch.nn.ConvTranspose2d(8, 4, 2, stride=2)

        def forward(self, x, t):
            return self.up(self.grouped(x))

    graph = export(Model().eval(), torch.zeros(2, 4, 6, 6), torch.zeros(2, dtype=torch.int64))
    grouped, up = plan(graph, Scheme.parse("w4a8"))
    assert grouped.macs == 9 * 8 * 2 * 9
    assert up.macs == 9 * 8 * 4 * 4
    assert up.reason == "conv_transpose2d is not supported"
    assert (grouped.weight_bits, up.weight_bits) == (8, 32)


def test_named_layers_stay_in_float(tiny):
    reasons = {layer.name: layer.reason for layer in layers(tiny, "w4a8+skip-io-time")}
    assert reasons["unet.conv_in"] == reasons["unet.conv_out"] == "skip-io"
    times = [name for name in reasons if "time_emb" in name]
    assert len(times) == 2 + 8
    assert {reasons[name] for name in times} == {"skip=*time_emb*"}
    covered_bits = {la.bits for la in layers(tiny, "w4a8+skip-io") if not la.reason}
    assert covered_bits == {"w4a8"}


def test_operators_are_those_that_execute(toy):
    found = layers(toy, "w4a8")
    operators = {layer.node: "int8" if layer.quantized else layer.operator for layer in found}
    coverage = measure(toy, found, "int8", operators)
    assert coverage.macs_by_kernel == {
        "int8": FIRST + TIME + MIX + LAST,
        "aten.einsum": PRODUCTS // 2,
        "aten.matmul": PRODUCTS // 2,
    }
    assert [(layer.name, layer.bits, layer.kernel) for layer in coverage.layers][:2] == [
        ("first", "w8a8", "int8"),
        ("time", "w4a8", "int8"),
    ]
    assert sum(layer.macs for layer in coverage.layers) == coverage.macs


def test_a_layer_that_does_not_execute_does_not_count(toy):
    found = layers(toy, "w4a8")
    operators = {layer.node: layer.operator for layer in found if layer.name != "time"}
    coverage = measure(toy, found, "int8", operators)
    assert coverage.macs == FIRST + MIX + LAST + PRODUCTS
    assert "time" not in {layer.name for layer in coverage.layers}
