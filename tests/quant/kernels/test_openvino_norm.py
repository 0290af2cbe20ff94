import numpy as np
import pytest
import torch

openvino = pytest.importorskip("openvino")

from openvino import opset14 as operations  # noqa: E402

from bench.quant.kernels.openvino import Compiled  # noqa: E402
from bench.quant.kernels.openvino_norm import with_channels_last  # noqa: E402


@pytest.mark.parametrize("groups", [1, 3, 6])
def test_it_is_that_of_torch(groups):
    generator = torch.Generator().manual_seed(0)
    # Far from zero, where a variance of squares less the square of the mean loses its digits.
    x = torch.randn(2, 6, 5, 4, generator=generator) + 1000
    gamma, beta = torch.rand(6, generator=generator), torch.randn(6, generator=generator)
    given = operations.parameter([2, 6, 5, 4], openvino.Type.f32, name="x")
    constants = [operations.constant(each.numpy().astype(np.float32)) for each in (gamma, beta)]
    node = operations.group_normalization(given, *constants, groups, 1e-5)
    model = openvino.Model([node], [given])
    with_channels_last(model)
    assert "GroupNormalization" not in {each.get_type_name() for each in model.get_ops()}
    expected = torch.nn.functional.group_norm(x.double(), groups, gamma.double(), beta.double())
    assert torch.allclose(Compiled(model, ["x"])(x).double(), expected, atol=2e-3)
