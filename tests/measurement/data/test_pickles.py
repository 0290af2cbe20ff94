import os
import pickle
import struct

import numpy as np
import pytest
from helpers.pickled import Bomb, python2_batch
from hypothesis import given
from hypothesis import strategies as st

from bench.core.errors import InputError
from bench.measurement.data import pickles

PIXELS = np.arange(6, dtype=np.uint8).reshape(2, 3)


def forms():
    yield python2_batch(PIXELS)
    for protocol in range(2, pickle.HIGHEST_PROTOCOL + 1):
        yield pickle.dumps({b"data": PIXELS, b"labels": [6, 6]}, protocol)
        yield pickle.dumps({"data": np.asfortranarray(PIXELS)}, protocol)
    yield pickle.dumps({"data": PIXELS}, 2).replace(b"numpy._core", b"numpy.core")


@pytest.mark.parametrize("data", list(forms()))
def test_reads_arrays_of_every_writer(data):
    assert pickles.array(pickles.read(data, "x")["data"], "x").tolist() == PIXELS.tolist()


def test_python2_form_is_what_the_true_unpickler_reads():
    true = pickle.loads(python2_batch(PIXELS), encoding="bytes")
    assert true[b"data"].tolist() == PIXELS.tolist()
    assert true[b"labels"] == [6, 6]
    assert set(pickles.read(python2_batch(PIXELS), "x")) == {key.decode() for key in true}


@pytest.mark.parametrize("protocol", [0, 2, 4])
def test_refuses_calls_and_does_not_make_them(protocol, tmp_path):
    mark = tmp_path / "mark"
    data = pickle.dumps({"data": Bomb(os.system, f"touch {mark}")}, protocol)
    with pytest.raises(InputError, match=rf"^x: refused: the pickle calls {os.name}\.system, "):
        pickles.read(data, "x")
    assert not mark.exists()
    pickle.loads(data)
    assert mark.exists()


@pytest.mark.parametrize(
    "call", [(eval, "1"), (np.zeros, 9), (bytearray, 9), (getattr, 1, "real")]
)
def test_refuses_any_other_call(call):
    with pytest.raises(InputError, match="which no array needs"):
        pickles.read(pickle.dumps({"data": Bomb(*call)}), "x")


@pytest.mark.parametrize(
    "data",
    [
        pytest.param(python2_batch(PIXELS)[:-40], id="truncated"),
        pytest.param(b"", id="empty"),
        pytest.param(b"plain text", id="text"),
        pytest.param(b"\x80\x02]q\x7f.", id="memo index"),
        pytest.param(b"\x80\x02]r\xff\xff\xff\x7f.", id="long memo index"),
        pytest.param(b"\x80\x04\x8e" + struct.pack("<Q", 1 << 40) + b"ab.", id="bytes length"),
        pytest.param(b"\x80\x05\x96" + struct.pack("<Q", 1 << 40) + b"ab.", id="bytearray length"),
        pytest.param(b"\x80\x02\x82\x01.", id="extension code"),
        pytest.param(b"\x80\x02h\x05.", id="absent memo"),
        pytest.param(b"\x80\x02cnumpy\nndarray\n)\x81.", id="no class to instantiate"),
    ],
)
def test_refuses_damaged_pickles(data):
    with pytest.raises(InputError, match=r"^x: not a whole pickle"):
        pickles.read(data, "x")


def test_refuses_more_opcodes_than_an_array_needs(monkeypatch):
    monkeypatch.setattr(pickles, "OPCODES", 100)
    with pytest.raises(InputError, match="more opcodes"):
        pickles.read(b"\x80\x02" + b"]" * 200 + b".", "x")


def test_refuses_what_is_no_dictionary():
    with pytest.raises(InputError, match="holds no dictionary"):
        pickles.read(pickle.dumps([1]), "x")


@given(st.binary(max_size=60))
def test_any_bytes_are_read_or_refused(data):
    for pickled in (data, b"\x80\x02" + data, python2_batch(PIXELS)[:60] + data):
        try:
            pickles.read(pickled, "x")
        except InputError as error:
            assert "\n" not in str(error)


@given(st.integers(0, 450), st.integers(0, 255))
def test_a_changed_byte_gives_an_array_or_an_error(position, value):
    data = bytearray(python2_batch(PIXELS))
    data[position % len(data)] = value
    try:
        found = pickles.array(pickles.read(bytes(data), "x").get("data"), "x")
        assert found.dtype == np.uint8 and found.size == 6
    except InputError:
        pass


@pytest.mark.parametrize(
    ("array", "words"),
    [
        (PIXELS.astype(np.int8), "type u1 .* not i1"),
        (PIXELS.astype(np.float64), "type u1 .* not f8"),
        (PIXELS.ravel(), "two axes"),
        ([1, 2], "no pickled numpy array"),
        (None, "no pickled numpy array"),
    ],
)
@pytest.mark.parametrize("protocol", [2, 5])
def test_refuses_other_arrays(array, words, protocol):
    entry = pickles.read(pickle.dumps({"data": array}, protocol), "x")["data"]
    with pytest.raises(InputError, match=words):
        pickles.array(entry, "x")


def test_refuses_a_shape_that_the_bytes_do_not_fill():
    data = python2_batch(PIXELS).replace(b"M\x03\x00", b"M\x00\xff")
    entry = pickles.read(data, "x")["data"]
    with pytest.raises(InputError, match=r"do not fill an array of shape \(2, 65280\)"):
        pickles.array(entry, "x")
