import gzip
import struct

import numpy as np
import pytest

from bench.data import fashion_mnist
from bench.errors import InputError


def write_idx(path, images, magic=0x803, cut=0):
    count, height, width = images.shape
    data = struct.pack(">IIII", magic, count, height, width) + images.tobytes()
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(gzip.compress(data[: len(data) - cut]))


PIXELS = np.arange(2 * 3 * 4, dtype=np.uint8).reshape(2, 3, 4)


def test_reads_what_was_written(tmp_path, monkeypatch):
    write_idx(tmp_path / "fashion-mnist" / fashion_mnist.FILES["test"], PIXELS)
    monkeypatch.setenv("BENCH_DATA", str(tmp_path))
    images = fashion_mnist.load("test")
    assert images.shape == (2, 1, 3, 4)
    assert images[:, 0].numpy().tolist() == PIXELS.tolist()


@pytest.mark.parametrize("change", [{"magic": 0x801}, {"cut": 1}])
def test_refuses_damaged_files(tmp_path, change):
    write_idx(tmp_path / "a.gz", PIXELS, **change)
    with pytest.raises(InputError, match="not a whole gzip IDX"):
        fashion_mnist.read_idx(tmp_path / "a.gz")


def test_refuses_what_is_no_gzip(tmp_path):
    (tmp_path / "a.gz").write_bytes(b"plain")
    with pytest.raises(InputError, match="not a whole gzip IDX"):
        fashion_mnist.read_idx(tmp_path / "a.gz")


def test_refuses_a_damaged_gzip_body(tmp_path):
    write_idx(tmp_path / "a.gz", PIXELS)
    data = bytearray((tmp_path / "a.gz").read_bytes())
    data[10] = 0xFF
    (tmp_path / "a.gz").write_bytes(data)
    with pytest.raises(InputError, match="not a whole gzip IDX"):
        fashion_mnist.read_idx(tmp_path / "a.gz")


def test_an_unknown_split_is_one_line():
    with pytest.raises(InputError, match="unknown split 'val'"):
        fashion_mnist.load("val")


def test_missing_data_says_which_files_go_where(monkeypatch, tmp_path):
    import torchvision.datasets

    def no_network(*arguments, **options):
        raise RuntimeError("no network")

    monkeypatch.setattr(fashion_mnist, "DEBIAN", tmp_path / "none")
    monkeypatch.setattr(torchvision.datasets, "FashionMNIST", no_network)
    with pytest.raises(InputError, match=r"train-images-idx3-ubyte\.gz"):
        fashion_mnist.load("train")
