"""Files that a user names: one reading for keys and for use."""

import hashlib

import pytest

from bench.core.errors import InputError
from bench.system import given_files


@pytest.fixture(autouse=True)
def fresh():
    given_files.forget()
    yield
    given_files.forget()


def test_what_was_read_first_stands_until_it_is_forgotten(tmp_path):
    path = tmp_path / "a.py"
    path.write_text("x = 1")
    digest = hashlib.sha256(b"x = 1").hexdigest()
    assert given_files.sha256_of_code(path) == given_files.sha256(path) == digest
    given_files.check_unchanged(path)
    path.write_text("x = 2")
    assert given_files.code(path) == "x = 1"
    assert given_files.sha256_of_code(path) == given_files.sha256(path) == digest
    with pytest.raises(RuntimeError, match="was changed since the command began"):
        given_files.check_unchanged(path)
    given_files.forget()
    assert given_files.code(path) == "x = 2" and given_files.sha256(path) != digest


def test_what_is_no_file_is_one_line(tmp_path):
    (tmp_path / "bytes.py").write_bytes(b"\xff\xfe")
    for call, name, says in (
        (given_files.code, "none.py", "cannot be read as a file of Python"),
        (given_files.code, ".", "is a folder, not a file of Python"),
        (given_files.code, "bytes.py", "not a file of Python .no UTF-8"),
        (given_files.sha256, "none.pt", "none.pt: no such file"),
        (given_files.sha256, ".", "no such file"),
    ):
        with pytest.raises(InputError, match=says):
            call(tmp_path / name)
    with pytest.raises(InputError, match="no such user's home"):
        given_files.place("~nobody-is-called-this/a.py")
