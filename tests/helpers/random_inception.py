"""A randomly initialised Inception in the two published file formats."""

from __future__ import annotations

import torch
from torch import nn
from torch.nn import functional

from bench.measurement.features import inception
from bench.system import store


class Layers(nn.Module):
    """Prepared images to features, the part `layers` of the TorchScript file."""

    def __init__(self, net: nn.Module) -> None:
        super().__init__()
        self.first = nn.Sequential(net.Conv2d_1a_3x3, net.Conv2d_2a_3x3, net.Conv2d_2b_3x3)
        self.second = nn.Sequential(net.Conv2d_3b_1x1, net.Conv2d_4a_3x3)
        names = ["5b", "5c", "5d", "6a", "6b", "6c", "6d", "6e", "7a", "7b", "7c"]
        self.rest = nn.Sequential(*(getattr(net, f"Mixed_{name}") for name in names))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        x = functional.max_pool2d(self.first(x), 3, 2)
        x = functional.max_pool2d(self.second(x), 3, 2)
        return functional.adaptive_avg_pool2d(self.rest(x), 1)


class Script(nn.Module):
    """The whole program: images 0..255 of any size, resized as TensorFlow 1 does."""

    def __init__(self, net: nn.Module) -> None:
        super().__init__()
        self.layers = Layers(net)

    def forward(self, x: torch.Tensor, return_features: bool = False) -> torch.Tensor:
        return self.layers((inception.tensorflow_resized(x) - 128) / 128)


def settle(net: nn.Module) -> nn.Module:
    """Give random weights and running statistics under which features vary, as trained ones do."""
    torch.manual_seed(0)
    for module in net.modules():
        if isinstance(module, nn.Conv2d):
            nn.init.kaiming_normal_(module.weight)
        if isinstance(module, nn.BatchNorm2d):
            module.momentum = 1.0
            nn.init.uniform_(module.weight, 0.5, 1.5)
            nn.init.normal_(module.bias, 0, 0.2)
    nn.init.normal_(net.fc.weight, 0, 0.1)
    with torch.no_grad():
        inception.pooled(net.train(), torch.rand(4, 3, 299, 299) * 2 - 1)
    return net.eval()


def write(folder):
    """Write both files; returns {name: SHA-256}."""
    net = settle(inception.build())
    torch.save(net.state_dict(), folder / inception.STATE)
    x = torch.zeros(1, 3, 299, 299)
    program = Script(net).eval()
    with torch.no_grad():
        layers = torch.jit.trace(program.layers, x, check_trace=False)
    program.layers = layers
    torch.jit.save(torch.jit.script(program), folder / inception.SCRIPT)
    return {name: store.sha256(folder / name) for name in inception.SHA256}
