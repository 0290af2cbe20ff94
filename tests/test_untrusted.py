"""Limits of what comes from elsewhere: sizes, depth, names that lead out of their folder."""

import json
import os
import zipfile
from collections import namedtuple

import numpy as np
import pytest

from bench.core.errors import InputError
from bench.measurement.data import pictures
from bench.models.sources import beside, fields, pretrained
from bench.verdicts import thresholds

Usage = namedtuple("Usage", "free")


def pipe(path):
    os.mkfifo(path)


def deep(path):
    path.write_text('{"a":' * 200 + "1" + "}" * 200)


def endless(path):
    path.write_text("[" * 100_000)


def large(path):
    with path.open("wb") as stream:
        stream.write(b'{"a": 1}')
        stream.truncate(fields.BYTES + 1)


def numbers(path):
    path.write_text('{"a": ' + "9" * 5000 + "}")


@pytest.mark.parametrize("make", [pipe, deep, endless, large, numbers])
def test_descriptions_are_small_and_flat(tmp_path, make):
    make(tmp_path / "config.json")
    reads = [fields.read, lambda path: beside.averaged(path.with_name("weights"))]
    # Beside weights a pipe is no description.
    for read in reads[: 1 if make is pipe else 2]:
        with pytest.raises(InputError) as refused:
            read(tmp_path / "config.json")
        assert "\n" not in str(refused.value) and len(str(refused.value)) < 600


@pytest.mark.parametrize(
    "name", ["../secret.safetensors", "/etc/passwd", "other.safetensors", 3, None, ["x"]]
)
def test_an_index_names_files_of_its_folder_alone(tmp_path, name):
    first = "diffusion_pytorch_model-00001-of-00001.safetensors"
    (tmp_path / first).write_bytes(b"")
    (tmp_path / "other.safetensors").write_bytes(b"")
    index = tmp_path / "diffusion_pytorch_model.safetensors.index.json"
    index.write_text(json.dumps({"weight_map": {"a": first}}))
    pretrained.check_index(tmp_path)
    index.write_text(json.dumps({"weight_map": {"a": first, "b": name}}))
    with pytest.raises(InputError, match="no file of weights beside it"):
        pretrained.check_index(tmp_path)
    index.write_text(json.dumps({"weight_map": name}))
    with pytest.raises(InputError, match="no file of weights beside it"):
        pretrained.check_index(tmp_path)


def header(shape, kind="|u1"):
    """The head of an npy file that states a shape."""
    text = str({"descr": kind, "fortran_order": False, "shape": shape}).ljust(117) + "\n"
    return b"\x93NUMPY\x01\x00" + len(text).to_bytes(2, "little") + text.encode()


@pytest.mark.parametrize(
    ("content", "reason"),
    [
        (header((1 << 50, 8, 8, 3)) + bytes(10), "bytes for another shape"),
        (header((-1, 8, 8)) + bytes(10), "bytes for another shape"),
        (header((1, 8, 8), "|O") + bytes(64), "not of numbers or text"),
        (b"\x93NUMPY", "no header of an array"),
        (b"", "no header of an array"),
    ],
)
def test_arrays_of_pictures_are_looked_at_before_they_are_unpacked(
    tmp_path, cache, content, reason
):
    with zipfile.ZipFile(tmp_path / "a.npz", "w") as archive:
        archive.writestr("a.npy", content)
    with pytest.raises(InputError, match=reason):
        pictures.find(tmp_path / "a.npz")
    assert not list(cache.rglob("*.npy"))


@pytest.mark.filterwarnings("ignore:Duplicate name")
def test_a_name_twice_in_an_archive_of_pictures(tmp_path):
    with zipfile.ZipFile(tmp_path / "a.npz", "w") as archive:
        for value in (0, 1):
            archive.writestr("a.npy", header((8, 8)) + bytes([value]) * 64)
    with pytest.raises(InputError, match="a is there twice"):
        pictures.find(tmp_path / "a.npz")


def test_an_archive_that_unfolds_to_more_than_the_disk_has_is_left_alone(
    tmp_path, cache, monkeypatch
):
    np.savez_compressed(tmp_path / "a.npz", np.zeros((1000, 8, 8), np.uint8))
    monkeypatch.setattr("shutil.disk_usage", lambda path: Usage(free=1000))
    with pytest.raises(InputError, match=r"unfolds to 64128 bytes, and the disk of .* has 1000"):
        pictures.find(tmp_path / "a.npz")
    assert not list(cache.rglob("*.npy"))


def test_a_file_of_thresholds_is_small(tmp_path):
    path = tmp_path / "limits.toml"
    path.write_text("[[threshold]]\nabsolute = 1.0\n" + "# filled\n" * 200_000)
    with pytest.raises(InputError, match="too many for a TOML file of thresholds"):
        thresholds.read(path)
