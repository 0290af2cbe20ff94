import pytest
import torch

from bench.quant.packing import pack, unpack


@pytest.mark.parametrize("bits", range(2, 9))
@pytest.mark.parametrize("shape", [(3, 5), (4, 2, 3, 3), (1, 1), (7,)])
def test_round_trip(bits, shape):
    half = 2 ** (bits - 1)
    codes = torch.randint(-half, half, shape, dtype=torch.int8)
    codes.view(-1)[0] = -half
    packed = pack(codes, bits)
    assert packed.dtype == torch.uint8
    assert torch.equal(unpack(packed, bits, shape), codes)


def test_two_codes_of_four_bits_share_a_byte():
    packed = pack(torch.tensor([1, -1, 7, -8, 3], dtype=torch.int8), 4)
    assert packed.tolist() == [0xF1, 0x87, 0x03]
    assert len(pack(torch.zeros(5, dtype=torch.int8), 5)) == 5


def test_packing_copies():
    codes = torch.zeros(2, dtype=torch.int8)
    pack(codes, 8)[0] = 1
    unpack(codes.view(torch.uint8), 8, (2,))[0] = 1
    assert codes.tolist() == [0, 0]
