"""Which layers are reconstructed together: what modules call one after the other."""

from torch import nn

from bench.core.denoiser import Denoiser
from bench.core.noise_levels import NoiseLevels
from bench.core.scheme import Scheme
from bench.models.schedules import alpha_bar
from bench.quant.graph import float_of
from bench.quant.layers import exported
from bench.quant.methods.blocks import MOST, blocks
from bench.quant.methods.rounded import RoundedLayer, rounded_layers


def found(graph):
    return {
        tuple(each.layer.name for each in block.layers): (block.inputs, block.outputs, block.end)
        for block in blocks(float_of(graph), rounded_layers(graph))
    }


def test_residual_blocks_attentions_and_single_layers_of_a_unet(tiny_graph):
    """With the sums behind their last layers: outputs are those of the modules."""
    of_layers = found(tiny_graph("w4a8"))
    first = "unet.down_blocks.1.resnets.0"
    words = ("conv1", "time_emb_proj", "conv2", "conv_shortcut")
    assert of_layers[tuple(f"{first}.{word}" for word in words)] == (
        ("silu_4", "linear_1", "conv2d_3"),
        ("div_2",),
        "view",
    )
    attention = "unet.mid_block.attentions.0"
    words = ("to_q", "to_k", "to_v", "to_out.0")
    assert of_layers[tuple(f"{attention}.{word}" for word in words)][1] == ("div_5",)
    time = ("unet.time_embedding.linear_1", "unet.time_embedding.linear_2")
    assert of_layers[time] == (("to_1",), ("linear_1",), "conv2d")
    # First and last layer have the same module around them, and are far from each other.
    assert ("unet.conv_in",) in of_layers and ("unet.conv_out",) in of_layers
    assert [len(names) for names in of_layers].count(1) == 4
    assert sum(map(len, of_layers)) == 51


class Plain(nn.Module):
    """Many layers in one module, the first of which is executed twice."""

    def __init__(self):
        super().__init__()
        self.layers = nn.ModuleList(nn.Conv2d(2, 2, 1) for _ in range(MOST + 2))

    def forward(self, x, t):
        x = self.layers[0](x)
        for layer in self.layers:
            x = layer(x).sigmoid()
        return x


def test_a_long_module_is_cut():
    model = Plain().eval()
    network = Denoiser(model, NoiseLevels.discrete(alpha_bar("cosine")), "epsilon", (2, 3, 3))
    full = exported(network, 2)
    from bench.quant.layers import plan, weight_of

    nodes = {node.name: node for node in full.graph.nodes}
    layers = [
        RoundedLayer(
            layer, nodes[layer.node], full.get_parameter(weight_of(nodes[layer.node]).target)
        )
        for layer in plan(full, Scheme.parse("w4a8"))
    ]
    once = list({each.layer.name: each for each in reversed(layers)}.values())[::-1]
    made = blocks(full, once)
    assert [len(block.layers) for block in made] == [MOST, 2]
    assert made[0].end == "conv2d_13" and made[1].end == "output"
    assert made[1].outputs == ("sigmoid_13",)
