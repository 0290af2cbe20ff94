import zipfile
from pathlib import Path

import numpy as np
import pytest
from helpers.pictures import encode, flat, write_folder, write_zip
from hypothesis import given
from hypothesis import strategies as st

from bench.core import extensions
from bench.core.errors import InputError
from bench.measurement.data import folder


def reds(images):
    return images[:, 0, 0, 0].tolist()


NUMBERED = {f"{number:02d}.png": encode(flat(number)) for number in range(21)}


@pytest.mark.parametrize("write", [write_folder, write_zip])
def test_every_tenth_image_is_test(write, tmp_path):
    path = write(tmp_path / "c", NUMBERED)
    assert reds(folder.load("test", str(path))) == [9, 19]
    train = folder.load("train", str(path))
    assert train.shape == (19, 3, 4, 4)
    assert reds(train) == [*range(9), *range(10, 19), 20]


def test_train_and_test_folders_are_the_splits(tmp_path):
    contents = {
        "test/z.png": encode(flat(1)),
        "train/cat/b.png": encode(flat(3)),
        "train/a.png": encode(flat(2)),
        "val/x.png": encode(flat(4)),
    }
    zipped = write_zip(tmp_path / "c.zip", {f"photos/{k}": v for k, v in contents.items()})
    for path in (write_folder(tmp_path / "c", contents), zipped):
        assert reds(folder.load("train", str(path))) == [2, 3]
        assert reds(folder.load("test", str(path))) == [1]


@pytest.mark.parametrize(
    ("names", "test"),
    [
        (["train/a.png", "train/b.png"], []),
        (["test/a.png"], []),
        (["Train/a.png", "TEST/b.png", "TEST/a.png"], ["TEST/b.png", "TEST/a.png"]),
        (["train/a.png", "val/b.png"], ["val/b.png"]),
        (["training/a.png", "Validation/b.png", "x.png"], ["Validation/b.png"]),
        (["train/a.png", "valid/b.png", "test/c.png"], ["test/c.png"]),
        (["test/b.png", "train/a.png"], ["test/b.png"]),
        (["p/q/test/b.png", "p/q/train/a.png"], ["p/q/test/b.png"]),
        ([f"test/{number}.png" for number in range(10)], ["test/9.png"]),
    ],
)
def test_splits_by_names(names, test):
    assert folder.split_names(names, "test", "PLACE") == test


@pytest.mark.parametrize(
    ("names", "words"),
    [
        (["train/a.png", "x/test/a.png"], "a folder train and none named test or val"),
        (["Train/a.png", "b.png"], "a folder Train and none named test or val"),
        (["test/a.png", "val/a.png"], "a folder test and val and none named train"),
        (["Val/a.png", "x/a.png"], "a folder Val and none named train"),
        (["train/a.png", "Train/b.png", "test/a.png"], "Train and train are names of one split"),
        (["train/a.png", "val/b.png", "valid/a.png"], "val and valid are names of one split"),
    ],
)
def test_folders_that_are_half_a_split_are_refused(names, words, tmp_path):
    for split in ("train", "test"):
        with pytest.raises(InputError, match=f"PLACE: .*{words}"):
            folder.split_names(names, split, "PLACE")
    path = write_folder(tmp_path / "c", dict.fromkeys(names, b""))
    with pytest.raises(InputError, match=words):
        folder.check(str(path))


def test_images_outside_of_the_splits_are_told_once(tmp_path, capsys):
    names = ["Train/a.png", "Test/b.png", "more/c.png", "d.png"]
    path = write_folder(tmp_path / "c", {name: encode(flat(1)) for name in names})
    for _ in range(2):
        folder.check(str(path))
        assert folder.load("train", str(path)).shape[0] == 1
    told = f"{path}: 2 of 4 images are in neither Train nor Test: passed over\n"
    assert capsys.readouterr().err.count(told) == 1


def test_images_of_other_kinds_are_refused_and_counted(tmp_path):
    more = {"x/A.GIF": b"", "x/b.gif": b"", "c.tiff": b"", ".d.gif": b"", "note.txt": b""}
    for path in (
        write_folder(tmp_path / "c", NUMBERED | more),
        write_zip(tmp_path / "c.zip", NUMBERED | more),
    ):
        for read in (folder.check, lambda argument: folder.load("test", argument)):
            with pytest.raises(InputError) as caught:
                read(str(path))
            assert str(caught.value) == (
                f"{path}: 3 images are of kinds that bench does not read (2 .gif, 1 .tiff; the "
                f"first is c.tiff): convert them to PNG, or take them out"
            )


@given(st.lists(st.text("ab/t", min_size=1, max_size=5), min_size=1, unique=True))
def test_the_splits_share_no_image(names):
    names = sorted(f"{name}.png" for name in names)
    train, test = (folder.split_names(names, split, "") for split in ("train", "test"))
    assert sorted(train + test) == names


def test_a_size_crops_and_resizes(tmp_path):
    path = write_folder(
        tmp_path / "at@home", {"test/a.png": encode(flat(9, (8, 6))), "train/b.png": b"-"}
    )
    assert folder.load("test", f"{path}@4").shape == (1, 3, 4, 4)
    assert folder.load("test", str(path)).shape == (1, 3, 8, 6)
    with pytest.raises(InputError, match="6x8 is smaller than 7x7"):
        folder.load("test", f"{path}@7")


def test_grey_folders_have_one_channel(tmp_path):
    grey = encode(np.full((4, 4), 7, np.uint8))
    path = write_folder(tmp_path / "c", {"test/a.png": grey, "train/a.png": encode(flat(1))})
    assert folder.load("test", str(path)).shape == (1, 1, 4, 4)
    assert folder.load("train", str(path)).shape == (1, 3, 4, 4)


def test_mixed_sizes_and_bad_images_are_named(tmp_path):
    path = write_folder(tmp_path / "c", NUMBERED | {"05.png": encode(flat(5, (4, 8)))})
    with pytest.raises(InputError, match=r"00\.png is 4x4 and 05\.png 8x4: give one size"):
        folder.load("train", str(path))
    write_folder(path, {"05.png": b"plain"})
    zipped = write_zip(tmp_path / "c.zip", NUMBERED | {"05.png": b"plain"})
    for place in (path, zipped):
        with pytest.raises(InputError) as caught:
            folder.load("train", str(place))
        assert str(caught.value) == (
            f"{place}: 05.png is not a readable image (no PNG, JPEG, WEBP, BMP)"
        )


def test_an_edit_is_seen(tmp_path):
    path = write_folder(tmp_path / "c", NUMBERED)
    assert reds(folder.load("test", str(path))) == [9, 19]
    write_folder(path, {"09.png": encode(flat(200))})
    assert reds(folder.load("test", str(path))) == [200, 19]


def test_empty_folders_and_splits_are_refused(tmp_path):
    path = write_folder(tmp_path / "c", {"note.txt": b""})
    with pytest.raises(InputError, match=r"holds no \.png"):
        folder.load("test", str(path))
    write_folder(path, {"a.png": encode(flat(1))})
    with pytest.raises(InputError, match="1 images leave none for the split test"):
        folder.load("test", str(path))
    with pytest.raises(InputError, match="no folder or zip archive there"):
        folder.load("test", str(tmp_path / "none"))
    with pytest.raises(InputError, match="unknown split 'val'"):
        folder.load("val", str(path))


def test_a_zip_with_a_password_is_refused(tmp_path):
    path = write_zip(tmp_path / "c.zip", NUMBERED)
    data = bytearray(path.read_bytes())
    # Bit 0 of the flags, in the local header and in the directory, says "encrypted".
    for mark, offset in ((b"PK\x03\x04", 6), (b"PK\x01\x02", 8)):
        position = data.find(mark)
        while position >= 0:
            data[position + offset] |= 1
            position = data.find(mark, position + 1)
    path.write_bytes(data)
    assert zipfile.ZipFile(path).infolist()[0].flag_bits & 1
    with pytest.raises(InputError, match=r"cannot be read .*encrypted"):
        folder.load("test", str(path))


@pytest.mark.parametrize(
    ("argument", "parsed"),
    [
        ("/x/y", (Path("/x/y"), None)),
        ("/x/y@64", (Path("/x/y"), 64)),
        ("a@b/c", (Path("a@b/c"), None)),
        ("a@2@3", (Path("a@2"), 3)),
        ("x@", (Path("x@"), None)),
        ("C:/x@32", (Path("C:/x"), 32)),
    ],
)
def test_arguments(argument, parsed):
    assert folder.parse(argument) == parsed


@pytest.mark.parametrize("argument", ["", "@64", "x@0"])
def test_wrong_arguments_say_the_form(argument):
    with pytest.raises(InputError, match="write folder:PATH or folder:PATH@SIZE"):
        folder.load("test", argument)


def test_the_table_binds_the_argument(tmp_path):
    path = write_folder(tmp_path / "c", NUMBERED)
    load = extensions.lookup("datasets", f"folder:{path}@2")
    assert load("test").shape == (2, 3, 2, 2)
