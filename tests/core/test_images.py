"""Sets of images: their keys, and whether two of them pair up."""

import numpy as np
import pytest

from bench.core.errors import InputError
from bench.core.images import ImageSet, require_pairs

IMAGES = np.arange(2 * 3 * 4 * 4, dtype=np.uint8).reshape(2, 3, 4, 4)


def test_the_key_is_of_the_content():
    one = ImageSet.of(IMAGES, "here", ["a", "b"])
    assert len(one) == 2
    assert ImageSet.of(IMAGES.copy(), "there", ("a", "b")).key == one.key
    moved = IMAGES.copy()
    moved[1, 2, 3, 3] += 1
    others = [
        ImageSet.of(moved, "here", ["a", "b"]),
        ImageSet.of(IMAGES, "here", ["a", "c"]),
        ImageSet.of(IMAGES, "here"),
        ImageSet.of(IMAGES.reshape(2, 3, 2, 8), "here", ["a", "b"]),
    ]
    assert len({one.key, *(other.key for other in others)}) == 5


def test_what_is_no_set_of_images_is_refused():
    with pytest.raises(ValueError, match="here: float64"):
        ImageSet.of(IMAGES.astype(np.float64), "here")
    with pytest.raises(ValueError, match="1 names, 2 images"):
        ImageSet.of(IMAGES, "here", ["a"])


@pytest.mark.parametrize(
    ("names", "images", "says"),
    [
        (("a", "c"), IMAGES, "no partner have 'b', 'c'"),
        (("b", "a"), IMAGES, "their names are in another order"),
        (("a", "b"), IMAGES[:, :1], "images of shape [2, 1, 4, 4] and [2, 3, 4, 4]"),
        (("a",), IMAGES[:1], "no partner have 'b'"),
    ],
)
def test_sets_that_do_not_pair_up_are_refused(names, images, says):
    reference = ImageSet.of(IMAGES, "reference", ("a", "b"))
    require_pairs(reference, reference)
    with pytest.raises(InputError) as refused:
        require_pairs(ImageSet.of(images, "test", names), reference)
    assert str(refused.value).startswith("test and reference do not pair up: ")
    assert says in str(refused.value)
