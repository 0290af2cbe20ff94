"""Which pictures are scored, and what is said of the others."""

from __future__ import annotations

import hashlib
import shutil
import zipfile

import numpy as np
import pytest
from helpers.picture_sets import image, moved, pictures, save
from PIL import Image

from bench.core.errors import InputError
from bench.evaluation import pairing
from bench.measurement.data import pictures as places


@pytest.fixture
def sets(tmp_path):
    """Two folders of twelve pairs, by label."""
    made = pictures()
    save(tmp_path / "a", made)
    save(tmp_path / "b", moved(made))
    return {name: tmp_path / name for name in "ab"}


def opened(paths):
    return {label: places.find(path) for label, path in paths.items()}


def error(paths, may_leave_out=False):
    with pytest.raises(InputError) as raised:
        pairing.paired(opened(paths), may_leave_out)
    assert "\n" not in str(raised.value)
    return str(raised.value)


def test_pairs_are_ordered_hashed_and_compared(sets):
    shutil.copy(sets["a"] / "p03.png", sets["b"] / "p03.png")
    pairs = pairing.paired(opened(sets))
    assert pairs.names == tuple(f"p{k:02d}" for k in range(12))
    assert set(pairs.sizes) == {(40, 48)}
    assert (pairs.channels, dict(pairs.left_out)) == (3, {})
    assert pairs.equal == {"a": 12, "b": 1}
    assert pairs.digests["a"] != pairs.digests["b"]


def test_the_hash_is_of_names_and_pixels_not_of_files(sets, tmp_path):
    """A zip of other files with the same pixels is the same set."""
    save(tmp_path / "c", pictures(), ".bmp")
    with zipfile.ZipFile(tmp_path / "c.zip", "w") as archive:
        for path in (tmp_path / "c").iterdir():
            archive.write(path, path.name)
    pairs = pairing.paired(opened({"a": sets["a"], "c": tmp_path / "c.zip"}))
    assert pairs.digests["a"] == pairs.digests["c"]
    assert pairs.equal["c"] == 12
    renamed = save(tmp_path / "d", {f"x/{n}": x for n, x in pictures().items()})
    again = pairing.paired(opened({"d": renamed}))
    assert again.digests["d"] != pairs.digests["a"]


def test_npz_of_a_stack_and_of_single_arrays(tmp_path):
    made = pictures(5)
    np.savez_compressed(tmp_path / "stack.npz", np.stack(list(made.values())))
    np.savez(tmp_path / "single.npz", **{f"{k:06d}": x for k, x in enumerate(made.values())})
    save(tmp_path / "f", {f"{k:06d}": x for k, x in enumerate(made.values())})
    paths = {n: tmp_path / n for n in ("stack.npz", "single.npz", "f")}
    pairs = pairing.paired(opened(paths))
    assert pairs.equal == dict.fromkeys(paths, 5)
    np.savez(tmp_path / "deep.npz", np.zeros((5, 8, 8, 3), np.uint16))
    paths = {"f": tmp_path / "f", "deep": tmp_path / "deep.npz"}
    assert "uint16, not uint8" in error(paths)


def test_what_has_no_partner_is_told(sets):
    (sets["a"] / "p00.png").unlink()
    (sets["b"] / "p01.png").rename(sets["b"] / "q.png")
    told = []
    pairs = pairing.paired(opened(sets), tell=told.append)
    assert len(pairs.names) == 10
    assert pairs.left_out == {"no partner": ("p00", "p01", "q")}
    assert told == ["left out, no partner: 3 (p00, p01, q)"]


def test_mixed_sizes_follow_each_other(tmp_path):
    made = pictures(6, ((40, 48), (24, 24)))
    pairs = pairing.paired(opened({"a": save(tmp_path / "a", made)}))
    assert pairs.sizes == ((24, 24),) * 3 + ((40, 48),) * 3
    rows = places.PictureRows(opened({"a": tmp_path / "a"})["a"], pairs.names, pairs.sizes, 3)
    assert rows.shape == (6, 3, None, None)
    assert [tuple(group) for group in rows.groups] == [(0, 3, (3, 24, 24)), (3, 6, (3, 40, 48))]
    np.testing.assert_array_equal(rows[4:5][0].transpose(1, 2, 0), made[pairs.names[4]])


def test_another_size_than_the_partner(sets):
    image(pictures()["p05"][:24]).save(sets["b"] / "p05.png")
    text = error(sets)
    assert "p05 has another size than its partner (48x40 and 48x24)" in text
    assert text.endswith("or score the others with --leave-out")
    pairs = pairing.paired(opened(sets), may_leave_out=True)
    assert pairs.left_out == {pairing.SIZE: ("p05",)}
    assert len(pairs.names) == 11


def test_grey_against_colour(sets, tmp_path):
    image(pictures()["p05"]).convert("L").save(sets["b"] / "p05.png")
    assert "p05 is grey and its partner is not" in error(sets)
    image(pictures()["p05"]).convert("L").save(sets["a"] / "p05.png")
    assert pairing.paired(opened(sets)).channels == 3


def _alpha(x):
    picture = image(x).convert("RGBA")
    picture.putalpha(128)
    return picture


def _deep(x):
    return Image.fromarray(x[..., 0].astype(np.uint16) * 256)


@pytest.mark.parametrize(
    ("make", "suffix", "options", "words"),
    [
        (_alpha, ".png", {}, "transparent"),
        (_deep, ".png", {}, "8 bits"),
        (lambda x: image(x).convert("CMYK"), ".jpg", {}, "CMYK"),
        (image, ".jpg", {"exif": "turned"}, "EXIF"),
        (image, ".png", {"save_all": True}, "animated"),
        (None, ".png", {}, "not a readable image"),
    ],
)
def test_pictures_without_one_meaning(sets, make, suffix, options, words):
    (sets["b"] / "p05.png").unlink()
    path, x = sets["b"] / f"p05{suffix}", pictures()["p05"]
    if "exif" in options:
        exif = Image.Exif()
        exif[0x0112] = 6
        options = {"exif": exif}
    if "save_all" in options:
        options = {"save_all": True, "append_images": [image(255 - x)]}
    if make is None:
        whole = (sets["a"] / "p05.png").read_bytes()
        path.write_bytes(whole[: len(whole) // 2])
    else:
        make(x).save(path, **options)
    text = error(sets)
    assert words in text and "p05" in text
    pairs = pairing.paired(opened(sets), may_leave_out=True)
    assert pairs.left_out == {pairing.UNREADABLE: ("p05",)}


def test_nothing_in_common(sets, tmp_path):
    save(tmp_path / "c", {f"c/{name}": x for name, x in pictures().items()})
    text = error({"a": sets["a"], "c": tmp_path / "c"})
    assert "'p00'" in text and "'c/p00'" in text


def test_one_set_is_empty(sets, tmp_path):
    (tmp_path / "none").mkdir()
    assert "holds no .png" in error({"a": sets["a"], "b": tmp_path / "none"})


def test_all_pairs_are_bad(sets):
    for path in sets["b"].iterdir():
        path.write_bytes(b"none")
    assert "none of 12 pairs can be compared" in error(sets, may_leave_out=True)


@pytest.mark.parametrize(
    ("name", "words"),
    [
        ("p00.jpg", "one name but for the suffix"),
        ("clip.mp4", "is a video"),
        ("more.zip", "is an archive among the pictures"),
        ("x.gif", "kinds that bench does not read"),
    ],
)
def test_what_is_no_picture_is_refused_by_name(sets, name, words):
    (sets["b"] / name).write_bytes(b"")
    assert words in error(sets)


def test_a_video_is_no_set(tmp_path):
    (tmp_path / "a.mp4").write_bytes(b"")
    assert "write its frames as PNG" in error({"a": tmp_path / "a.mp4"})


def test_digests_of_a_set_are_those_of_its_pixels(tmp_path):
    """Pinned: the hash binds certificates and cached features."""
    x = np.arange(12, dtype=np.uint8).reshape(2, 2, 3)
    pairs = pairing.paired(opened({"a": save(tmp_path / "a", {"n": x})}))
    pixels = hashlib.sha256(x.transpose(2, 0, 1).tobytes()).hexdigest()
    expected = hashlib.sha256(f"n\0(3, 2, 2)\0{pixels}\n".encode()).hexdigest()
    assert pairs.digests["a"] == expected
