"""Files of prompts: what they say of the pictures, and what is no such file."""

from __future__ import annotations

import json

import pytest

from bench.core.errors import InputError
from bench.measurement.data import prompts

NAMES = ("a", "deep/b", "c.d")
TEXTS = ("a cat", 'two, "three"\nlines', "größer 猫")


def write(path, text):
    path.write_text(text, encoding="utf-8")
    return path


def quoted(text):
    return '"' + text.replace('"', '""') + '"'


def lines(pairs):
    return "".join(json.dumps({"name": n, "prompt": p, "seed": 1}) + "\n" for n, p in pairs)


@pytest.mark.parametrize("suffix", ["", ".png", ".JPG"])
@pytest.mark.parametrize("form", ["csv", "jsonl", "windows"])
def test_prompts_by_the_names_of_the_pictures(tmp_path, form, suffix):
    """In any order, other names and columns among them, with or without suffixes."""
    pairs = [("other", "x"), *((n + suffix, p) for n, p in zip(NAMES, TEXTS, strict=True))]
    pairs.reverse()
    if form == "jsonl":
        path = write(tmp_path / "p.jsonl", lines(pairs) + "\n")
    else:
        end = "\n" if form == "csv" else "\r\n"
        rows = [f"{k},{quoted(p)},{quoted(n)}" for k, (n, p) in enumerate(pairs)]
        mark = "" if form == "csv" else "\ufeff"
        path = tmp_path / "p.csv"
        path.write_bytes((mark + end.join(["seed,prompt,name", *rows, ""])).encode())
    assert prompts.read(path, NAMES) == TEXTS
    assert prompts.read(path, NAMES[::-1]) == TEXTS[::-1]


def test_a_name_that_ends_like_a_suffix(tmp_path):
    """Of the pictures x.png.png and x.png one is called like the file of the other."""
    path = write(tmp_path / "p.csv", "name,prompt\nx.png,first\nx,second\n")
    assert prompts.read(path, ["x.png", "x"]) == ("first", "second")
    path = write(tmp_path / "p.csv", "name,prompt\nx.png,first\n")
    with pytest.raises(InputError, match=r"no prompt for 1 of 2 pictures \(x\)"):
        prompts.read(path, ["x.png", "x"])


def test_the_digest_is_of_texts_in_their_order():
    assert prompts.digest(("a", "b")) != prompts.digest(("b", "a"))
    assert prompts.digest(("a b",)) != prompts.digest(("a", "b"))
    assert prompts.digest(["a", "b"]) == prompts.digest(("a", "b"))
    assert len(prompts.digest(TEXTS)) == 64


GOOD = "".join(f"{n},x\n" for n in NAMES)


@pytest.mark.parametrize(
    ("name", "text", "said"),
    [
        ("p.txt", "", "a .csv with a header name,prompt, or a .jsonl"),
        ("p.csv", "", "first line must be name,prompt, not ''"),
        ("p.csv", GOOD, "first line must be name,prompt, not 'a,x'"),
        ("p.csv", "name,prompt,name\n", "first line must be name,prompt"),
        ("p.csv", "name,prompt\na,x\n", r"no prompt for 2 of 3 pictures \(deep/b, c.d\)"),
        ("p.csv", f"name,prompt\n{GOOD}a,y\n", "line 5: a second prompt of 'a'"),
        ("p.csv", f"name,prompt\n{GOOD}a.png,y\n", "line 5: a second prompt of 'a'"),
        ("p.csv", f"name,prompt\n{GOOD}z,  \n", "line 5: the prompt of 'z' is empty"),
        ("p.csv", f"name,prompt\n{GOOD}z,{'x' * 20_001}\n", "20,001 characters, and at most 20,0"),
        ("p.csv", "name,prompt\na,big, red\n", "line 2 has 3 fields .* between double quotes"),
        ("p.csv", 'name,prompt\na,"big\n', "no prompts can be read"),
        ("p.csv", f"name,prompt\na,{'x' * 200_000}\n", "no prompts can be read .*field"),
        ("p.jsonl", "", "no prompt for 3 of 3"),
        ("p.jsonl", lines([("a", "x")]) + "{", "line 2: "),
        ("p.jsonl", "[" * 100_000, "line 1: "),
        ("p.jsonl", '["a", "x"]', "line 1 is no object with the texts name and prompt"),
        ("p.jsonl", '{"name": "a"}', "line 1 is no object with the texts name and prompt"),
        ("p.jsonl", '{"name": 1, "prompt": "x"}', "line 1 is no object"),
        ("p.jsonl", lines([("a", "")]), "line 1: the prompt of 'a' is empty"),
        ("p.jsonl", '{"name": "a", "prompt": "\\ud800"}', "line 1: "),
    ],
)
def test_what_is_no_file_of_prompts(tmp_path, name, text, said):
    path = write(tmp_path / name, text)
    with pytest.raises(InputError, match=said) as error:
        prompts.read(path, NAMES)
    assert len(str(error.value).splitlines()) == 1 and len(str(error.value)) < 600


def test_files_that_cannot_be_read(tmp_path, monkeypatch):
    for path in (tmp_path / "none.csv", tmp_path / "no\0.csv"):
        with pytest.raises(InputError, match="cannot be read as a file of prompts"):
            prompts.read(path, NAMES)
    (tmp_path / "folder.csv").mkdir()
    with pytest.raises(InputError, match="is a folder"):
        prompts.read(tmp_path / "folder.csv", NAMES)
    (tmp_path / "p.csv").write_bytes(b"name,prompt\na,\xff\n")
    with pytest.raises(InputError, match="no UTF-8"):
        prompts.read(tmp_path / "p.csv", NAMES)
    monkeypatch.setattr("bench.core.border.BYTES", 10)
    with pytest.raises(InputError, match="too many for a file of prompts"):
        prompts.read(tmp_path / "p.csv", NAMES)
