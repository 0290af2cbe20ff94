import numpy as np
import pytest
from helpers.picture_sets import pictures, save

from bench.measurement.data import images
from bench.measurement.data import pictures as places


@pytest.mark.parametrize("channels", [1, 3])
def test_a_picture_is_decoded_once(channels, tmp_path, monkeypatch):
    made = pictures(2, channels=channels)
    place = places.find(save(tmp_path / "set", made))
    opened = []

    def counted(data):
        opened.append(data)
        return unwatched(data)

    unwatched = images.opened
    monkeypatch.setattr(images, "opened", counted)
    pixels = place.read("p01")
    np.testing.assert_array_equal(pixels, made["p01"].transpose(2, 0, 1))
    assert len(opened) == 1
