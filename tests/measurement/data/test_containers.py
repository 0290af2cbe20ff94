import zipfile

import pytest
from helpers.pictures import write_folder, write_zip

from bench.core.errors import InputError
from bench.measurement.data import containers

CONTENTS = {"b/2.PNG": b"two", "a.jpg": b"one", "b/10.webp": b"ten"}
IGNORED = {"note.txt": b"", ".hidden.png": b"", "__MACOSX/a.jpg": b"", ".git/x.png": b""}


@pytest.fixture(params=["folder", "zip"])
def write(request, tmp_path):
    def written(contents, name="c"):
        if request.param == "folder":
            return write_folder(tmp_path / name, contents)
        return write_zip(tmp_path / f"{name}.zip", contents)

    return written


def test_names_are_sorted_and_others_left_out(write):
    names = containers.image_names(write(CONTENTS | IGNORED))
    assert names == ["a.jpg", "b/10.webp", "b/2.PNG"]


def test_bytes_come_in_the_order_of_the_names(write):
    found = containers.collection(write(CONTENTS), ["b/2.PNG", "a.jpg"])
    assert found.count == 2
    assert list(found.read()) == [("b/2.PNG", b"two"), ("a.jpg", b"one")]


def test_content_depends_on_names_bytes_and_order_but_not_on_the_place(write):
    names = list(CONTENTS)
    key = containers.collection(write(CONTENTS), names).content
    assert containers.collection(write(CONTENTS, "d"), names).content == key
    assert containers.collection(write(CONTENTS), names[::-1]).content != key
    assert containers.collection(write(CONTENTS), names[:2]).content != key
    changed = write(CONTENTS | {"a.jpg": b"onE"}, "e")
    assert containers.collection(changed, names).content != key


def test_linked_folders_are_followed(tmp_path, monkeypatch):
    monkeypatch.setenv("BENCH_FOLDERS", str(tmp_path / "far"))
    write_folder(tmp_path / "far", CONTENTS)
    (tmp_path / "near").mkdir()
    (tmp_path / "near" / "link").symlink_to(tmp_path / "far")
    assert containers.image_names(tmp_path / "near")[0] == "link/a.jpg"


def test_refuses_what_is_neither(tmp_path):
    (tmp_path / "file").write_bytes(b"plain")
    for path, words in (
        (tmp_path / "none", "no folder or zip"),
        (tmp_path / "file", "not a whole"),
    ):
        with pytest.raises(InputError, match=words):
            containers.image_names(path)
        with pytest.raises(InputError, match=words):
            containers.collection(path, ["a.png"])


def test_refuses_a_truncated_archive(tmp_path):
    path = write_zip(tmp_path / "c.zip", CONTENTS)
    path.write_bytes(path.read_bytes()[:-30])
    with pytest.raises(InputError, match="not a whole zip archive"):
        containers.image_names(path)


def test_a_damaged_member_is_named(tmp_path):
    path = write_zip(tmp_path / "c.zip", {"a.png": b"some bytes"})
    path.write_bytes(path.read_bytes().replace(b"some bytes", b"same bytes", 1))
    with pytest.raises(InputError, match=r"a\.png cannot be read \(Bad CRC"):
        list(containers.collection(path, ["a.png"]).read())


def test_a_member_of_absurd_size_is_not_read(tmp_path, monkeypatch):
    monkeypatch.setattr(containers, "LIMIT", 3)
    path = write_zip(tmp_path / "c.zip", {"a.png": b"four"})
    with pytest.raises(InputError, match=r"a\.png has 4 bytes"):
        list(containers.collection(path, ["a.png"]).read())


def test_refuses_a_name_twice(tmp_path):
    with zipfile.ZipFile(tmp_path / "c.zip", "w") as archive:
        archive.writestr("a.png", b"1")
        with pytest.warns(UserWarning, match="Duplicate"):
            archive.writestr("a.png", b"2")
    with pytest.raises(InputError, match=r"holds a\.png twice"):
        containers.image_names(tmp_path / "c.zip")


def test_a_vanished_file_is_named(tmp_path):
    with pytest.raises(InputError, match=r"gone\.png: cannot be read"):
        containers.collection(write_folder(tmp_path / "c", CONTENTS), ["gone.png"])
