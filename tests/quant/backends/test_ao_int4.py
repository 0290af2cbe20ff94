import pytest
import torch

from bench.core import extensions
from bench.core.errors import NotExecuted
from bench.core.record import Host
from bench.core.scheme import Scheme
from bench.quant.backends.ao_int4 import AoInt4Weight

W4 = Scheme.parse("w4a16")


def test_it_is_of_nvidia_gpus():
    reason = AoInt4Weight().refuses(W4, Host("here", "cpu", "avx2", 1, {}))
    assert reason == "ao-int4-weight needs an NVIDIA GPU, and this run is on cpu"
    gpu = Host("here", "cuda", "NVIDIA A100 sm_80", 1, {})
    assert AoInt4Weight().refuses(W4, gpu) is None
    assert "executes w4a16 only" in AoInt4Weight().refuses(Scheme.parse("w4a8"), gpu)
    assert extensions.lookup("backends", "ao-int4-weight") is AoInt4Weight


@pytest.mark.parametrize(
    ("inputs", "dtype", "why"),
    [
        (256, torch.bfloat16, ""),
        (256, torch.float32, "is not in bfloat16"),
        (192, torch.bfloat16, "has 192 inputs, which are no multiple of 128"),
    ],
)
def test_layers_that_stay_say_why(inputs, dtype, why):
    said = AoInt4Weight().leaves(torch.nn.Linear(inputs, 32, dtype=dtype))
    assert said.startswith(why) and bool(said) == bool(why)


def test_a_network_in_float32_is_refused(tiny, batches):
    with pytest.raises(NotExecuted, match=r"replaces no layer: .* set dtype: bfloat16"):
        AoInt4Weight()(tiny, W4, batches)
