import gzip
import hashlib
import struct

import numpy as np
import pytest

from bench.core.errors import InputError
from bench.measurement.data import fashion_mnist
from bench.system import store


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


def test_missing_data_is_never_downloaded_unasked(monkeypatch, tmp_path):
    def no_network(*arguments, **options):
        raise AssertionError("asked the network")

    monkeypatch.setattr(fashion_mnist, "DEBIAN", tmp_path / "none")
    monkeypatch.setattr("socket.socket.connect", no_network)
    with pytest.raises(
        InputError, match=r"`bench fetch fashion-mnist`.*train-images-idx3-ubyte\.gz"
    ):
        fashion_mnist.load("train")


def test_fetch_keeps_the_published_bytes_only(bench, monkeypatch, cache, tmp_path):
    asked = []

    def opened(url, timeout):
        asked.append(url)
        return (tmp_path / url.rpartition("/")[2]).open("rb")

    for name in fashion_mnist.FILES.values():
        write_idx(tmp_path / name, PIXELS)
    monkeypatch.setattr("urllib.request.urlopen", opened)
    code, _, stderr = bench("fetch", "fashion-mnist")
    assert code == 2 and "not 3aede38d6186...: not kept" in stderr
    assert not list(cache.rglob("*.gz"))

    found = {name: store.sha256(tmp_path / name) for name in fashion_mnist.FILES.values()}
    monkeypatch.setattr(fashion_mnist, "SHA256", found)
    code, stdout, stderr = bench("fetch", "fashion-mnist")
    assert (code, len(stdout.splitlines())) == (0, 2)
    assert stderr.count("fetching https://raw.githubusercontent.com/zalandoresearch/") == 2
    monkeypatch.setattr(fashion_mnist, "DEBIAN", tmp_path / "none")
    assert fashion_mnist.load("test")[:, 0].numpy().tolist() == PIXELS.tolist()
    count = len(asked)
    assert bench("fetch", "fashion-mnist")[0] == 0
    assert len(asked) == count


@pytest.mark.skipif(not fashion_mnist.DEBIAN.is_dir(), reason="the Debian package is not here")
def test_the_debian_files_are_the_published_ones():
    # Published is this header with the name and time that Debian leaves out of it.
    body = (fashion_mnist.DEBIAN / fashion_mnist.FILES["test"]).read_bytes()[10:]
    name = fashion_mnist.FILES["test"].removesuffix(".gz").encode() + b"\0"
    whole = b"\x1f\x8b\x08\x08" + struct.pack("<I", 1504176627) + b"\x00\x03" + name + body
    assert hashlib.sha256(whole).hexdigest() == fashion_mnist.SHA256[fashion_mnist.FILES["test"]]
