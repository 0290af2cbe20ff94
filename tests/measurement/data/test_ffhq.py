import pytest
from helpers.pictures import encode, flat, write_folder, write_zip

from bench.core.errors import InputError
from bench.measurement.data import ffhq


@pytest.fixture
def root(tmp_path, monkeypatch):
    monkeypatch.setenv("BENCH_DATA", str(tmp_path))
    monkeypatch.setattr(ffhq, "NUMBERS", {"train": range(12), "test": range(12, 14)})
    return tmp_path / "ffhq"


def faces(pattern, edge=64):
    return {pattern.format(n): encode(flat(10 * n, (edge, edge))) for n in range(14)}


FORMS = {
    "flat folder": lambda root: write_folder(root, faces("{:05d}.png")),
    "thumbnails": lambda root: write_folder(
        root / "thumbnails128x128", faces("00000/{:05d}.png", 128)
    ),
    "numbers of other length": lambda root: write_folder(root, faces("{}.png")),
    "zip": lambda root: write_zip(
        root / "thumbnails128x128.zip", faces("thumbnails128x128/00000/{:05d}.png", 128)
    ),
    "dataset_tool": lambda root: write_zip(
        root / "ffhq-64x64.zip", {"dataset.json": b"{}", **faces("00000/img{:08d}.png")}
    ),
}


@pytest.mark.parametrize("form", FORMS)
def test_images_come_in_the_order_of_their_numbers(form, root):
    FORMS[form](root)
    write_folder(root, {"LICENSE.txt": b"", "teaser.png": b"no image"})
    train, test = ffhq.load("train"), ffhq.load("test")
    assert train.shape == (12, 3, 64, 64) and test.shape == (2, 3, 64, 64)
    assert train[:, 0, 0, 0].tolist() == [10 * number for number in range(12)]
    assert test[:, 2, 63, 63].tolist() == [122, 132]


def test_the_published_split():
    assert {"train": range(60_000), "test": range(60_000, 70_000)} == ffhq.NUMBERS


def test_absent_and_double_numbers_are_named(root):
    contents = faces("{:05d}.png")
    del contents["00012.png"]
    write_folder(root, contents)
    assert len(ffhq.load("train")) == 12
    with pytest.raises(InputError, match=r"1 of 2 images of the split test .* number 12"):
        ffhq.load("test")
    write_folder(root, {"more/00003.png": b""})
    with pytest.raises(InputError, match=r"number 3 is there twice: 00003\.png, more/00003\.png"):
        ffhq.load("train")


def test_missing_files_and_splits_are_one_line(root):
    root.mkdir()
    with pytest.raises(InputError, match=r"^ffhq not found: put ffhq-64x64\.zip or .* into "):
        ffhq.load("test")
    with pytest.raises(InputError, match="unknown split"):
        ffhq.load("val")


def test_a_bad_image_is_named(root):
    write_folder(root, faces("{:05d}.png") | {"00013.png": b"plain"})
    with pytest.raises(InputError, match=r"00013\.png is not a readable image"):
        ffhq.load("test")
