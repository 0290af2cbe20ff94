"""Arrays are read out of archives that lie about their sizes, types and names, or refused."""

import io
import os
import struct
import zipfile

import numpy as np
import pytest

from bench.core import npz
from bench.core.errors import InputError
from bench.system import influences


def archive(path, members, compression=zipfile.ZIP_DEFLATED):
    with zipfile.ZipFile(path, "w", compression) as out:
        for name, data in members:
            out.writestr(name, data)
    return path


def npy(array):
    stream = io.BytesIO()
    np.save(stream, array)
    return stream.getvalue()


def headed(text, data=b""):
    text = text.encode("latin1") + b"\n"
    return b"\x93NUMPY\x01\x00" + struct.pack("<H", len(text)) + text + data


def described(shape, kind="<f4", data=b""):
    return headed(f"{{'descr': {kind!r}, 'fortran_order': False, 'shape': {shape}, }}", data)


def test_what_numpy_writes_is_read(tmp_path):
    arrays = {"a": np.arange(6.0).reshape(2, 3), "b": np.array("text"), "c": np.float32([1, 2])}
    arrays |= {"f": np.asfortranarray(np.arange(6.0).reshape(2, 3)), "empty": np.zeros((0, 3))}
    for save in (np.savez, np.savez_compressed):
        save(tmp_path / "x.npz", **arrays)
        found = npz.read(tmp_path / "x.npz")
        assert set(found) == set(arrays) == set(npz.names(tmp_path / "x.npz"))
        for name, array in arrays.items():
            assert found[name].dtype == array.dtype
            assert np.array_equal(found[name], array)
    assert set(npz.read(tmp_path / "x.npz", ("a", "z"))) == {"a"}


LONG = b"\x93NUMPY\x02\x00" + struct.pack("<I", 2**32 - 1) + b"{}"


@pytest.mark.parametrize(
    "data, reason",
    [
        (described("(1000000000,)"), "bytes for another shape"),
        (described(f"({2**62}, {2**62})"), "bytes for another shape"),
        (described("(-1,)"), "bytes for another shape"),
        (described("(True,)", data=b"1234"), "bytes for another shape"),
        (described("(1,)", "|O", b"\x80\x04N."), "of type object"),
        (described("(1,)", "|V4", b"1234"), "not of numbers"),
        (
            headed("{'descr': [('a', '<f4')], 'fortran_order': False, 'shape': (1,)}", b"1234"),
            "not of num",
        ),
        (headed("(" * 5000), "no header"),
        (headed("{'descr': '<f4', 'fortran_order': False, 'shape': (1L,)}" + "'''"), "no header"),
        (headed("__import__('os').system('true')"), "no header"),
        (LONG, "no header"),
        (b"", "no header"),
        (b"\x93NUMPY\x03\x00", "no header"),
        (npy(np.arange(3.0))[:-1], "bytes for another shape"),
        (npy(np.arange(3.0)) + b"x", "bytes for another shape"),
    ],
)
def test_a_header_that_lies_makes_nothing(tmp_path, data, reason):
    path = archive(tmp_path / influences.NAME, [("a.npy", data)])
    with pytest.raises(ValueError, match=reason):
        npz.read(path)
    with pytest.raises(InputError, match="damaged") as caught:
        influences.load(path)
    assert "\n" not in str(caught.value)


def test_a_bomb_is_not_unfolded(tmp_path, monkeypatch):
    monkeypatch.setattr(npz, "BYTES", 1000)
    path = archive(tmp_path / "x.npz", [("a.npy", npy(np.zeros(10_000)))])
    assert path.stat().st_size < 1000
    with pytest.raises(ValueError, match="unfolds"):
        npz.read(path)


def test_damaged_archives(tmp_path):
    path = archive(tmp_path / "x.npz", [("a.npy", npy(np.arange(100.0)))])
    whole = path.read_bytes()
    for data in (b"", b"PK", whole[:50], whole[:-30], whole[:60] + b"\xff" * 8 + whole[68:]):
        path.write_bytes(data)
        with pytest.raises(ValueError):
            npz.read(path)
    twice = archive(path, [("a.npy", npy(np.zeros(1))), ("a.npy", npy(np.ones(1)))])
    with pytest.raises(ValueError, match="twice"):
        npz.read(twice)


def test_a_pipe_and_a_folder_are_not_read(tmp_path):
    os.mkfifo(tmp_path / "x.npz")
    for path in (tmp_path / "x.npz", tmp_path):
        with pytest.raises((ValueError, OSError)):
            npz.read(path)
        with pytest.raises(InputError, match="damaged"):
            influences.load(path)


@pytest.mark.parametrize("values", [np.arange(3), np.zeros((2, 2)), np.complex64([1j])])
def test_influences_are_lists_of_real_numbers(tmp_path, values):
    np.savez(tmp_path / "x.npz", a=values)
    with pytest.raises(InputError, match="damaged"):
        influences.load(tmp_path / "x.npz")
