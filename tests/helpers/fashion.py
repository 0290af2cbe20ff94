"""The images of Fashion-MNIST, which are not shipped: tests that need them are skipped without."""

import pytest

from bench.core.errors import InputError
from bench.measurement.data import fashion_mnist


def _at_hand():
    try:
        return len(fashion_mnist.load("test")) == 10_000
    except InputError:
        return False


fashion = pytest.mark.skipif(
    not _at_hand(), reason="needs Fashion-MNIST (apt-get install dataset-fashion-mnist)"
)
