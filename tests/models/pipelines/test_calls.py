"""Arguments of a network taken apart into tensors and put together again."""

import torch

from bench.models.pipelines.calls import (
    SLOT,
    Called,
    batched,
    first_rows,
    put_together,
    taken_apart,
)


def test_arguments_come_back_as_they_were():
    x, t, y = torch.zeros(2, 3), torch.tensor(5), torch.ones(2)
    arguments = ((x, t), {"mask": None, "more": {"y": y, "ids": [x, 7]}, "return_dict": False})
    tensors = []
    form = taken_apart(arguments, tensors)
    assert [id(tensor) for tensor in tensors] == [id(x), id(t), id(y), id(x)]
    assert form == (
        (SLOT, SLOT),
        {"mask": None, "more": {"y": SLOT, "ids": (SLOT, 7)}, "return_dict": False},
    )
    (first, second), named = put_together(form, iter(tensors))
    assert first is x
    assert second is t
    assert named["more"]["y"] is y
    assert named["mask"] is None


def test_a_network_is_called_as_its_form_says():
    class Network(torch.nn.Module):
        def forward(self, x, *, scale, return_dict):
            assert return_dict is False
            return (x * scale,)

    form = ((SLOT,), {"scale": SLOT, "return_dict": False})
    called = Called(Network(), form, [(1, 2), ()])
    assert called(torch.ones(1, 2), torch.tensor(3.0)).tolist() == [[3.0, 3.0]]
    assert "inputs=((1, 2), ())" in repr(called)


def test_tensors_that_grow_with_the_images_have_rows():
    one = [torch.zeros(2, 5), torch.tensor(1), torch.zeros(7, 3)]
    two = [torch.zeros(4, 5), torch.tensor(1), torch.zeros(7, 3)]
    has_rows = batched(one, two)
    assert has_rows == (True, False, False)
    assert [tuple(t.shape) for t in first_rows(two, has_rows, 3)] == [(3, 5), (), (7, 3)]
