import numpy as np
import pytest
from helpers.records import CELL

from bench.core.errors import InputError
from bench.system import influences


def test_terms_come_back(tmp_path):
    terms = {influences.key(CELL, "psnr@3"): np.array([0.5, -1.0, 0.5])}
    influences.save(tmp_path / "i.npz", terms)
    found = influences.load(tmp_path / "i.npz")
    assert list(found) == [f"{CELL}|psnr@3"]
    np.testing.assert_array_equal(found[f"{CELL}|psnr@3"], [0.5, -1.0, 0.5])


def test_no_file_has_no_terms(tmp_path):
    assert influences.load(tmp_path / "none.npz") == {}


def test_a_damaged_file_is_named(tmp_path):
    path = tmp_path / "i.npz"
    influences.save(path, {"a": np.zeros(1000)})
    path.write_bytes(path.read_bytes()[:-30])
    with pytest.raises(InputError, match=r"i\.npz: damaged"):
        influences.load(path)
