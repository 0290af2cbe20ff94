import struct
import zlib
from pathlib import Path

import numpy as np
import pytest
from helpers.pictures import encode, flat
from PIL import Image

from bench.core.errors import InputError
from bench.measurement.data import images


def collection(*encoded, content="content"):
    pairs = [(f"{number}.png", data) for number, data in enumerate(encoded)]
    return images.Collection(Path("/there"), len(pairs), content, lambda: pairs)


def test_planes_are_red_green_blue_in_rows():
    pixels = np.arange(2 * 3 * 3, dtype=np.uint8).reshape(2, 3, 3)
    loaded = images.load(collection(encode(pixels)))
    assert loaded.shape == (1, 3, 2, 3)
    assert loaded[0, 0].tolist() == [[0, 3, 6], [9, 12, 15]]
    assert loaded[0, 2].tolist() == [[2, 5, 8], [11, 14, 17]]


def test_a_constant_image_stays_constant():
    loaded = images.load(collection(encode(flat(200, (9, 9)))), size=4)
    assert loaded.shape == (1, 3, 4, 4)
    assert [loaded[0, channel].unique().tolist() for channel in range(3)] == [[200], [201], [202]]


def test_an_edge_is_resampled_by_the_wide_cubic_filter():
    """Halving has the weights -3 -9 29 111 111 29 -9 -3 of 256, cut and normalized at borders:
    the columns at 255 give -9 - 3 + 29 = 17 of 254 to the second and 17 less to the third."""
    half = np.zeros((8, 8), np.uint8)
    half[:, 4:] = 255
    resized = images.resize(Image.fromarray(half), 4)
    assert resized.dtype == np.uint8
    assert resized.tolist() == [[[0, 17, 238, 255]] * 4]
    assert images.resize(Image.fromarray(half.T), 4)[0, :, 0].tolist() == [0, 17, 238, 255]


def test_resizing_is_that_of_clean_fid():
    from cleanfid.resize import make_resizer

    pixels = np.random.default_rng(0).choice([0, 255], (32, 32, 3)).astype(np.uint8)
    reference = make_resizer("PIL", False, "bicubic", (8, 8))(pixels)
    found = images.resize(Image.fromarray(pixels), 8)
    assert np.abs(found.transpose(1, 2, 0) - np.clip(reference, 0, 255)).max() <= 0.5


@pytest.mark.parametrize("turned", [False, True])
def test_the_centre_square_is_cropped(turned):
    wide = np.tile(np.arange(7, dtype=np.uint8), (4, 1))
    cropped = images.resize(Image.fromarray(wide.T if turned else wide), 4)[0]
    assert (cropped.T if turned else cropped).tolist() == [[1, 2, 3, 4]] * 4


def test_an_image_of_the_size_is_not_touched():
    pixels = np.random.default_rng(0).integers(0, 256, (5, 5), dtype=np.uint8)
    assert images.resize(Image.fromarray(pixels), 5)[0].tolist() == pixels.tolist()


def test_grey_only_where_all_images_are_grey():
    grey, colour = encode(np.full((2, 2), 7, np.uint8)), encode(flat(1, (2, 2)))
    assert images.load(collection(grey, grey, content="a")).shape == (2, 1, 2, 2)
    mixed = images.load(collection(grey, colour, content="b"))
    assert mixed[:, :, 0, 0].tolist() == [[7, 7, 7], [1, 2, 3]]
    assert images.load(collection(grey, content="c"), channels=3).shape == (1, 3, 2, 2)


def test_palettes_and_opaque_alpha_are_converted():
    palette = Image.fromarray(flat(10, (2, 2))).quantize(4)
    opaque = Image.fromarray(flat(10, (2, 2))).convert("RGBA")
    loaded = images.load(collection(encode(palette), encode(opaque)))
    assert loaded[:, :, 0, 0].tolist() == [[10, 11, 12], [10, 11, 12]]


@pytest.mark.parametrize("form", ["JPEG", "WEBP", "BMP"])
def test_other_forms_are_decoded(form):
    loaded = images.load(collection(encode(flat(128, (8, 8)), form)))
    assert abs(loaded.int() - 129).max() <= 3


def damaged():
    good = encode(np.random.default_rng(0).integers(0, 256, (20, 20, 3), dtype=np.uint8))
    yield "no image", b"plain text"
    yield "nothing", b""
    yield "truncated", good[: len(good) // 2]
    yield "another format", encode(flat(1), "TIFF")
    yield "16 bits", encode(np.zeros((4, 4), np.uint16))
    yield "transparent", encode(Image.new("RGBA", (4, 4)))
    yield "too small", encode(flat(1, (4, 3)))
    yield "16 bits in colour", deep_colour()
    frames = [Image.fromarray(flat(k)) for k in (1, 9)]
    yield "moving PNG", encode(frames[0], save_all=True, append_images=frames[1:])
    yield "moving WebP", encode(frames[0], "WEBP", save_all=True, append_images=frames[1:])
    yield "a bomb", resized(good, 60_000, 60_000)
    yield "a smaller bomb", resized(good, 10_000, 9_000)
    yield "no pixels", resized(good, 0, 4)


def resized(png, width, height):
    """A PNG whose head says another size."""
    head = b"IHDR" + struct.pack(">II", width, height) + png[24:29]
    return png[:12] + head + struct.pack(">I", zlib.crc32(head)) + png[33:]


def deep_colour():
    """A PNG of 16 bits a channel, which Pillow itself cannot write."""

    def chunk(kind, data):
        return (
            struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))
        )

    head = chunk(b"IHDR", struct.pack(">IIBBBBB", 4, 4, 16, 2, 0, 0, 0))
    pixels = chunk(b"IDAT", zlib.compress(4 * (b"\0" + bytes(24))))
    return b"\x89PNG\r\n\x1a\n" + head + pixels + chunk(b"IEND", b"")


def test_turned_photographs_and_cmyk_are_taken_as_they_are_stored():
    exif = Image.Exif()
    exif[0x0112] = 6
    turned = encode(np.zeros((4, 8, 3), np.uint8), "JPEG", exif=exif)
    assert images.load(collection(turned, content="turned")).shape == (1, 3, 4, 8)
    ink = encode(Image.new("CMYK", (8, 8), (0, 0, 0, 128)), "JPEG")
    loaded = images.load(collection(ink, content="ink"))
    assert abs(loaded.int() - 127).max() <= 3


@pytest.mark.parametrize("data", [pytest.param(data, id=name) for name, data in damaged()])
def test_a_bad_image_is_named_and_leaves_nothing(data, cache):
    with pytest.raises(InputError, match=r"^/there: 1\.png is not a readable image \(.+\)$"):
        images.load(collection(encode(flat(1)), data), size=4, channels=3)
    assert list((cache / "data").iterdir()) == []


def test_mixed_sizes_need_a_size():
    pair = collection(encode(flat(1, (4, 5))), encode(flat(1, (5, 4))))
    with pytest.raises(InputError, match=r"0\.png is 5x4 and 1\.png 4x5: .*@SIZE"):
        images.load(pair)
    assert images.load(pair, size=4).shape == (2, 3, 4, 4)


def never():
    raise AssertionError("decoded again")


def test_decoding_happens_once_and_the_array_is_mapped(cache):
    first = images.load(collection(encode(flat(5))), size=2)
    again = images.load(images.Collection(Path("/moved"), 1, "content", never), size=2)
    assert again.tolist() == first.tolist()
    (path,) = (cache / "data").glob("*.npy")
    assert np.load(path).shape == (1, 3, 2, 2)
    maps = Path("/proc/self/maps")
    assert not maps.exists() or path.name in maps.read_text()


@pytest.mark.parametrize(
    ("name", "change"),
    [
        ("size", lambda patch: {"size": 2}),
        ("channels", lambda patch: {"channels": 1}),
        ("code", lambda patch: patch.setattr(images, "VERSION", 2) or {}),
        ("filter", lambda patch: patch.setattr(images, "FILTER", Image.Resampling.BOX) or {}),
        ("pillow", lambda patch: patch.setattr(images.PIL, "__version__", "0") or {}),
    ],
)
def test_the_key_changes_with(name, change, cache, monkeypatch):
    images.load(collection(encode(flat(5))))
    images.load(collection(encode(flat(5))), **change(monkeypatch))
    assert len(list((cache / "data").glob("*.npy"))) == 2


def test_a_damaged_cache_is_made_again(cache):
    images.load(collection(encode(flat(5))))
    (path,) = (cache / "data").glob("*.npy")
    path.write_bytes(path.read_bytes()[:-1])
    assert images.load(collection(encode(flat(6))))[0, 0, 0, 0] == 6


def test_a_stream_of_another_length_is_refused(cache):
    short = images.Collection(Path("/there"), 2, "content", lambda: [("a", encode(flat(1)))])
    with pytest.raises(InputError, match="1 images were read, not 2"):
        images.load(short)


def test_an_unwritable_cache_is_one_line(tmp_path, monkeypatch):
    (tmp_path / "file").write_bytes(b"")
    monkeypatch.setenv("BENCH_CACHE", str(tmp_path / "file"))
    with pytest.raises(InputError, match=r"^cannot write .* BENCH_CACHE to another folder$"):
        images.load(collection(encode(flat(1))))


def test_nothing_is_printed_off_a_terminal(capsys):
    images.load(collection(encode(flat(1))))
    assert capsys.readouterr() == ("", "")
