import io
import os
import pickle
import tarfile

import numpy as np
import pytest
from helpers.pickled import Bomb, python2_batch

from bench.core.errors import InputError
from bench.measurement.data import cifar10

RANDOM = np.random.default_rng(0)
NAMES = [f"data_batch_{k}" for k in range(1, 6)] + ["test_batch"]
BATCHES = {name: RANDOM.integers(0, 256, (2, 3072), dtype=np.uint8) for name in NAMES}


def python_files():
    return {f"cifar-10-batches-py/{name}": python2_batch(BATCHES[name]) for name in NAMES}


def modern_files():
    return {
        f"cifar-10-batches-py/{name}": pickle.dumps({b"labels": [1, 2], b"data": BATCHES[name]}, 2)
        for name in NAMES
    }


def binary_files():
    return {
        f"cifar-10-batches-bin/{name}.bin": b"".join(
            bytes([label]) + row.tobytes() for label, row in enumerate(BATCHES[name], 8)
        )
        for name in NAMES
    }


def write_tar(path, contents):
    path.parent.mkdir(parents=True, exist_ok=True)
    with tarfile.open(path, "w:gz") as archive:
        for name, data in contents.items():
            member = tarfile.TarInfo(name)
            member.size = len(data)
            archive.addfile(member, io.BytesIO(data))


def write_files(folder, contents):
    for name, data in contents.items():
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_bytes(data)


@pytest.fixture
def root(tmp_path, monkeypatch):
    monkeypatch.setenv("BENCH_DATA", str(tmp_path))
    monkeypatch.setattr(cifar10, "PER_BATCH", 2)
    return tmp_path / "cifar10"


FORMS = {
    "python": lambda root: write_files(root, python_files()),
    "modern python": lambda root: write_files(root, modern_files()),
    "binary": lambda root: write_files(root, binary_files()),
    "python archive": lambda root: write_tar(root / "cifar-10-python.tar.gz", python_files()),
    "binary archive": lambda root: write_tar(root / "cifar-10-binary.tar.gz", binary_files()),
    "dotted archive": lambda root: write_tar(
        root / "cifar-10-python.tar.gz", {f"./{k}": v for k, v in python_files().items()}
    ),
}


@pytest.mark.parametrize("form", FORMS)
def test_every_form_gives_the_same_images(form, root):
    FORMS[form](root)
    train, test = cifar10.load("train"), cifar10.load("test")
    assert train.shape == (10, 3, 32, 32) and test.shape == (2, 3, 32, 32)
    expected = np.concatenate([BATCHES[name] for name in NAMES[:5]])
    assert train.flatten(1).numpy().tolist() == expected.tolist()
    assert test.flatten(1).numpy().tolist() == BATCHES["test_batch"].tolist()


def test_pixels_are_planes_of_rows(root, monkeypatch):
    pixels = np.zeros((2, 3072), np.uint8)
    pixels[1, [0, 33, 1024, 3071]] = [1, 2, 3, 4]
    monkeypatch.setitem(BATCHES, "test_batch", pixels)
    write_files(root, binary_files())
    image = cifar10.load("test")[1]
    assert (image[0, 0, 0], image[0, 1, 1], image[1, 0, 0], image[2, 31, 31]) == (1, 2, 3, 4)
    assert image.sum() == 10


def test_files_in_the_cache_are_found(cache, monkeypatch):
    monkeypatch.setattr(cifar10, "PER_BATCH", 2)
    monkeypatch.delenv("BENCH_DATA", raising=False)
    write_files(cache / "data" / "cifar10", binary_files())
    assert len(cifar10.load("test")) == 2


@pytest.mark.parametrize("archive", [False, True])
def test_a_malicious_pickle_is_refused_and_does_not_run(archive, root, tmp_path):
    mark = tmp_path / "mark"
    data = pickle.dumps({b"data": Bomb(os.system, f"touch {mark}")}, 2)
    contents = python_files() | {"cifar-10-batches-py/test_batch": data}
    if archive:
        write_tar(root / "cifar-10-python.tar.gz", contents)
    else:
        write_files(root, contents)
    with pytest.raises(InputError, match=rf"test_batch: refused: .* {os.name}\.system"):
        cifar10.load("test")
    assert not mark.exists()


@pytest.mark.parametrize(
    ("data", "words"),
    [
        (python2_batch(BATCHES["test_batch"])[:-900], "not a whole pickle"),
        (python2_batch(np.zeros((2, 3071), np.uint8)), r"has shape \(2, 3071\)"),
        (python2_batch(np.zeros((1, 3072), np.uint8)), r"has shape \(1, 3072\)"),
        (python2_batch(BATCHES["test_batch"], b"i1"), "type u1"),
        (pickle.dumps({b"labels": [1]}, 2), "no entry `data`"),
    ],
)
def test_a_bad_pickle_is_refused(data, words):
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(cifar10, "PER_BATCH", 2)
        with pytest.raises(InputError, match=f"^x: .*{words}"):
            cifar10.parse_pickle(data, "x")


def test_a_bad_binary_batch_is_refused(root):
    good = binary_files()["cifar-10-batches-bin/test_batch.bin"]
    for data in (good[:-1], good + b"\0", good[:3073]):
        with pytest.raises(InputError, match=f"has {len(data)} bytes, not 2 records of 3073"):
            cifar10.parse_binary(data, "x")
    with pytest.raises(InputError, match="label 10: not CIFAR-10"):
        cifar10.parse_binary(b"\x0a" + good[1:], "x")


def test_a_truncated_archive_is_refused(root):
    path = root / "cifar-10-python.tar.gz"
    write_tar(path, python_files())
    path.write_bytes(path.read_bytes()[:20_000])
    with pytest.raises(InputError, match=r"not a whole tar\.gz archive"):
        cifar10.load("test")
    path.write_bytes(b"plain")
    with pytest.raises(InputError, match=r"not a whole tar\.gz archive"):
        cifar10.load("test")


def test_an_absent_batch_is_named(root):
    write_tar(root / "cifar-10-binary.tar.gz", {"cifar-10-batches-bin/readme.html": b""})
    with pytest.raises(InputError, match=r"holds no cifar-10-batches-bin/data_batch_1\.bin"):
        cifar10.load("train")
    (root / "cifar-10-batches-py").mkdir()
    with pytest.raises(InputError, match="data_batch_1: cannot be read"):
        cifar10.load("train")


def test_missing_data_and_splits_are_one_line(root):
    with pytest.raises(InputError, match=r"^cifar10 not found: put one of cifar-10-batches-py, "):
        cifar10.load("test")
    with pytest.raises(InputError, match=r"^unknown split 'val'"):
        cifar10.load("val")


def test_a_published_batch_has_ten_thousand_images():
    assert cifar10.PER_BATCH == 10_000
    assert len(cifar10.BATCHES["train"]) == 5 and len(cifar10.BATCHES["test"]) == 1
