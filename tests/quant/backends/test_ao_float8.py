import pytest
import torch

from bench.core import extensions
from bench.core.errors import NotExecuted
from bench.core.record import Host
from bench.core.scheme import Scheme
from bench.quant.backends.ao_float8 import AoFloat8

W8A8 = Scheme.parse("w8a8")


def host(device, isa):
    return Host("here", device, isa, 1, {})


@pytest.mark.parametrize(
    ("device", "isa"), [("cpu", "avx512_vnni"), ("cuda", "NVIDIA L4 sm_89"), ("mps", "mps")]
)
def test_hardware_without_such_products_is_refused(device, isa):
    reason = AoFloat8().refuses(W8A8, host(device, isa))
    assert reason == (
        f"ao-float8 needs a GPU that multiplies 8-bit floats by rows (compute capability 9.0), "
        f"and this is {device} {isa}"
    )


def test_it_runs_where_there_are_some():
    hopper = host("cuda:1", "NVIDIA H100 80GB HBM3 sm_90")
    assert AoFloat8().refuses(W8A8, hopper) is None
    assert AoFloat8().refuses(W8A8, host("cuda", "NVIDIA B200 sm_100")) is None
    reason = AoFloat8().refuses(Scheme.parse("w4a8"), hopper)
    assert reason == "ao-float8 executes w8a8 only: ask for --scheme w8a8"
    assert extensions.lookup("backends", "ao-float8") is AoFloat8


@pytest.mark.parametrize(
    ("sizes", "dtype", "why"),
    [
        ((64, 32), torch.bfloat16, ""),
        ((64, 32), torch.float32, "is not in bfloat16"),
        ((60, 32), torch.bfloat16, "has sizes that are no multiples of 16"),
        ((64, 30), torch.bfloat16, "has sizes that are no multiples of 16"),
    ],
)
def test_layers_that_stay_say_why(sizes, dtype, why):
    said = AoFloat8().leaves(torch.nn.Linear(*sizes, dtype=dtype))
    assert said.startswith(why) and bool(said) == bool(why)


def test_a_network_in_float32_is_refused(tiny, batches):
    with pytest.raises(NotExecuted, match=r"replaces no layer: .* set dtype: bfloat16"):
        AoFloat8()(tiny, W8A8, batches)
