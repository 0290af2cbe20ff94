import sys

import lmdb
import numpy as np
import pytest
from helpers.pictures import encode, flat, write_zip

from bench.core.errors import InputError
from bench.measurement.data import lsun_tower


def write_lmdb(folder, values):
    folder.mkdir(parents=True, exist_ok=True)
    with lmdb.open(str(folder), map_size=1 << 24) as database, database.begin(write=True) as put:
        for key, value in values.items():
            put.put(key, value)


def hashed(number):
    return f"{number:040x}".encode()


@pytest.fixture
def root(tmp_path, monkeypatch):
    monkeypatch.setenv("BENCH_DATA", str(tmp_path))
    return tmp_path / "lsun-tower"


def test_images_come_in_the_order_of_the_keys(root):
    values = {hashed(9): encode(flat(90, (80, 70)), "WEBP", lossless=True)}
    values[hashed(1)] = encode(flat(10, (64, 100)), "WEBP", lossless=True)
    values[hashed(5)] = encode(flat(50, (256, 300)), "JPEG", quality=100)
    write_lmdb(root / "tower_val_lmdb", values)
    write_lmdb(root / "tower_train_lmdb", {hashed(2): values[hashed(9)]})
    images = lsun_tower.load("test")
    assert images.shape == (3, 3, 64, 64)
    assert images[0, :, 0, 0].tolist() == [10, 11, 12]
    assert abs(images[1].int() - 51).max() <= 2
    assert images[2, :, 63, 63].tolist() == [90, 91, 92]
    assert lsun_tower.load("train").shape == (1, 3, 64, 64)


def test_the_centre_is_cropped_and_halved(root):
    pixels = np.zeros((128, 168, 3), np.uint8)
    pixels[:, 20:84], pixels[:, 84:148] = 100, 200
    write_lmdb(root / "tower_val_lmdb", {b"a": encode(pixels, "WEBP", lossless=True)})
    row = lsun_tower.load("test")[0, 1, 30]
    # 100 + 100 (-9 - 3 + 29 = 17) / 256 at the edge, as in test_images; nothing of the black rim.
    assert row[[0, 29, 30, 31, 32, 33, 34, 63]].tolist() == [100, 100, 99, 107, 193, 201, 200, 200]


def test_the_content_key_sees_count_and_ends(root):
    def key(**values):
        folder = root / "-".join(f"{key}{value}" for key, value in values.items())
        write_lmdb(folder, {name.encode(): value.encode() for name, value in values.items()})
        return lsun_tower.collection(folder).content

    keys = [key(a="1", b="2"), key(a="1", b="3"), key(a="0", b="2"), key(a="1", m="x", b="2")]
    assert len({*keys, key(a="1", c="2")}) == 5
    write_lmdb(root / "same", {b"a": b"1", b"b": b"2"})
    assert lsun_tower.collection(root / "same").content == keys[0]


def test_nothing_is_written_into_the_folder(root):
    write_lmdb(root / "tower_val_lmdb", {b"a": encode(flat(1, (64, 64)))})
    (root / "tower_val_lmdb" / "lock.mdb").unlink()
    lsun_tower.load("test")
    assert [path.name for path in (root / "tower_val_lmdb").iterdir()] == ["data.mdb"]


def test_damaged_databases_are_refused(root):
    data = root / "tower_val_lmdb" / "data.mdb"
    write_lmdb(data.parent, {hashed(number): bytes(9000) for number in range(20)})
    whole = data.read_bytes()
    for size in (len(whole) - 4096, len(whole) - 1, 12_288, 8192, 8191, 4096, 100, 0):
        data.write_bytes(whole[:size])
        with pytest.raises(InputError, match=r"data\.mdb is truncated, less than \d+ bytes"):
            lsun_tower.load("test")
    data.write_bytes(b"plain" * 4000)
    with pytest.raises(InputError, match="not a readable LMDB folder"):
        lsun_tower.load("test")
    data.write_bytes(whole)
    with pytest.raises(InputError, match=f"{hashed(0).decode()} is not a readable image"):
        lsun_tower.load("test")


@pytest.mark.parametrize("number", [0, 7, 19])
@pytest.mark.parametrize("length", [1 << 20, (1 << 32) - 1])
def test_lengths_that_lead_out_of_the_file_end_no_process(root, number, length):
    data = root / "tower_val_lmdb" / "data.mdb"
    write_lmdb(data.parent, {hashed(k): bytes(9000) for k in range(20)})
    whole = bytearray(data.read_bytes())
    # The newest leaf with the key; before a key: the value's length in halves, flags, its own.
    place = whole.rfind(hashed(number)) - 8
    assert int.from_bytes(whole[place : place + 4], "little") == 9000
    whole[place : place + 4] = length.to_bytes(4, "little")
    data.write_bytes(whole)
    with pytest.raises(InputError, match=r"data\.mdb is damaged: fetch or unzip it again"):
        list(lsun_tower.collection(data.parent).read())


def test_an_empty_database_is_refused(root):
    write_lmdb(root / "tower_val_lmdb", {})
    with pytest.raises(InputError, match="the database is empty"):
        lsun_tower.load("test")


def test_missing_files_are_one_line(root):
    with pytest.raises(InputError, match=r"put the folder tower_val_lmdb with its data\.mdb into"):
        lsun_tower.load("test")
    write_zip(root / "tower_train_lmdb.zip", {})
    with pytest.raises(InputError, match=r"tower_train_lmdb\.zip: unzip it"):
        lsun_tower.load("train")
    with pytest.raises(InputError, match="unknown split"):
        lsun_tower.load("val")


def test_the_missing_package_is_one_line(root, monkeypatch):
    write_lmdb(root / "tower_val_lmdb", {b"a": b"b"})
    monkeypatch.setitem(sys.modules, "lmdb", None)
    with pytest.raises(InputError, match=r"pip install 'diffusion-quant-bench\[lsun\]'"):
        lsun_tower.load("test")
