"""Folders of images as people have them: with links, pipes, devices and names that are none."""

import gzip
import os
import socket
import struct
import tarfile

import pytest
from helpers.pictures import encode, flat, write_folder

from bench.core.errors import InputError
from bench.measurement.data import cifar10, containers, fashion_mnist, folder

NUMBERED = {f"{number:02d}.png": encode(flat(number)) for number in range(10)}


@pytest.fixture
def ten(tmp_path):
    return write_folder(tmp_path / "c", NUMBERED)


def test_a_loop_of_links_adds_nothing(ten, capsys):
    (ten / "a").symlink_to(ten)
    (ten / "b").mkdir()
    (ten / "b" / "up").symlink_to("..")
    (ten / "00-again.png").symlink_to("00.png")
    assert containers.image_names(ten) == sorted(NUMBERED)
    assert folder.load("test", str(ten)).shape[0] == 1
    assert capsys.readouterr().err.count("3 links lead to what is there already") == 1


def test_links_to_elsewhere_are_refused(tmp_path, ten):
    other = tmp_path / "linked"
    other.mkdir()
    (other / "deep").mkdir()
    (other / "deep" / "x").symlink_to(ten)
    with pytest.raises(InputError, match=r"deep/x cannot be read: it is a link to .*/c, outside"):
        containers.image_names(other)
    (other / "deep" / "x").unlink()
    (other / "one.png").symlink_to(ten / "03.png")
    with pytest.raises(InputError, match=r"one\.png cannot be read: it is a link to .*03\.png"):
        containers.reader(other)("one.png")
    # A link to the folder itself is the user's own word.
    (tmp_path / "named").symlink_to(ten)
    assert containers.image_names(tmp_path / "named") == sorted(NUMBERED)


def test_links_to_declared_folders_are_followed_once(tmp_path, ten, monkeypatch):
    monkeypatch.setenv("BENCH_FOLDERS", os.pathsep.join(("/nowhere", str(ten))))
    other = tmp_path / "linked"
    other.mkdir()
    (other / "x").symlink_to(ten)
    (other / "y").symlink_to(ten)
    (other / "one.png").symlink_to(ten / "03.png")
    assert containers.image_names(other) == [
        "one.png",
        *(f"x/{k:02d}.png" for k in range(10) if k != 3),
    ]


def pipe(path):
    os.mkfifo(path)


def zeros(path):
    path.symlink_to("/dev/zero")


def plug(path):
    with socket.socket(socket.AF_UNIX) as server:
        server.bind(os.fspath(path))


def nowhere(path):
    path.symlink_to("nowhere")


def itself(path):
    path.symlink_to(path.name)


@pytest.mark.parametrize("make", [pipe, zeros, plug, nowhere, itself])
def test_what_is_no_file_is_refused_by_name(ten, make, monkeypatch):
    monkeypatch.chdir(ten)
    make(ten / "19.png")
    with pytest.raises(InputError, match=r"19\.png.*(no image|cannot be read)"):
        folder.load("train", str(ten))
    (ten / "19.png").rename(ten / "19.txt")
    assert folder.load("train", str(ten)).shape[0] == 9


def test_a_folder_with_the_name_of_an_image(ten):
    write_folder(ten / "10.png", {"a.png": encode(flat(10))})
    assert containers.image_names(ten)[-1] == "10.png/a.png"


def test_an_image_larger_than_any(ten, monkeypatch):
    monkeypatch.setattr(containers, "LIMIT", 60)
    with pytest.raises(InputError, match="bytes, no image has"):
        folder.load("train", str(ten))


@pytest.mark.parametrize(
    "name", ["~~/x", "a\0b", "x" * 5000, "", "@64", "c@0", "c@" + "9" * 5000, "/"]
)
def test_names_that_no_disk_holds(name):
    with pytest.raises(InputError) as caught:
        folder.load("test", name)
    assert str(caught.value).isprintable() and len(str(caught.value)) < 400


def test_terminal_escapes_in_names_are_written_out(ten):
    (ten / "\x1b[2Jx.png").write_bytes(b"no image")
    with pytest.raises(InputError) as caught:
        folder.load("train", str(ten))
    assert str(caught.value).isprintable()


@pytest.mark.parametrize(
    "data",
    [
        struct.pack(">IIII", 0x803, 2**31, 28, 28),
        struct.pack(">IIII", 0x803, 5, 0, 28),
        struct.pack(">IIII", 0x803, 2**32 - 1, 2**32 - 1, 2**32 - 1) + bytes(10),
        struct.pack(">IIII", 0x801, 1, 1, 1) + b"x",
        bytes(3),
        bytes(70_000),
    ],
)
def test_idx_headers_that_lie(tmp_path, data, monkeypatch):
    monkeypatch.setattr(fashion_mnist, "LIMIT", 65_536)
    path = tmp_path / "x.gz"
    path.write_bytes(gzip.compress(data))
    with pytest.raises(InputError, match="not a whole gzip IDX"):
        fashion_mnist.read_idx(path)


def test_pipes_in_place_of_data_files(tmp_path, monkeypatch):
    monkeypatch.setenv("BENCH_DATA", str(tmp_path))
    (tmp_path / "cifar10" / "cifar-10-batches-bin").mkdir(parents=True)
    os.mkfifo(tmp_path / "cifar10" / "cifar-10-batches-bin" / "test_batch.bin")
    with pytest.raises(InputError, match="no regular file"):
        cifar10.load("test")
    (tmp_path / "fashion-mnist").mkdir()
    os.mkfifo(tmp_path / "fashion-mnist" / fashion_mnist.FILES["test"])
    with pytest.raises(InputError, match="no regular file"):
        fashion_mnist.load("test")


def test_archives_of_links_hold_no_batch(tmp_path, monkeypatch):
    monkeypatch.setenv("BENCH_DATA", str(tmp_path))
    (tmp_path / "cifar10").mkdir()
    path = tmp_path / "cifar10" / "cifar-10-binary.tar.gz"
    with tarfile.open(path, "w:gz") as archive:
        link = tarfile.TarInfo("cifar-10-batches-bin/test_batch.bin")
        link.type, link.linkname = tarfile.SYMTYPE, "/etc/passwd"
        archive.addfile(link)
    with pytest.raises(InputError, match="holds no"):
        cifar10.load("test")
    path.write_bytes(path.read_bytes()[:40])
    with pytest.raises(InputError, match=r"not a whole tar\.gz"):
        cifar10.load("test")
