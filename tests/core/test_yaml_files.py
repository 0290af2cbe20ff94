import os
import time

import pytest
import yaml

from bench.core import yaml_files
from bench.core.errors import InputError


def refused(text, *words):
    with pytest.raises(InputError) as caught:
        yaml_files.parse(text, "my.yaml")
    message = str(caught.value)
    assert message.startswith("my.yaml: not a readable YAML file (")
    assert message.isprintable()
    for word in words:
        assert word in message, message


def laughs(levels=9, width=9):
    """Nine anchors, each a list of the one before nine times."""
    lines = ["a0: &a0 [lol]"]
    for k in range(1, levels + 1):
        lines.append(f"a{k}: &a{k} [{', '.join([f'*a{k - 1}'] * width)}]")
    return "\n".join(lines)


def merges(levels=9, width=9):
    """The same by merge keys."""
    lines = ["a0: &a0 {x: 1}"]
    for k in range(1, levels + 1):
        lines.append(f"a{k}: &a{k} {{<<: [{', '.join([f'*a{k - 1}'] * width)}]}}")
    return "\n".join(lines)


def test_plain_values_anchors_and_merges_are_read():
    text = "a: &a {x: 1, y: [2.5, true, null, 'yes']}\nb: *a\nc: {<<: *a, x: 3}\nd: Grüße\n"
    assert yaml_files.parse(text, "") == yaml.safe_load(text)
    assert yaml_files.parse("", "") is None


@pytest.mark.parametrize(
    ("written", "meant"),
    [
        ("1:30", "1:30"),
        ("190:20:30.15", "190:20:30.15"),
        *((word, word) for word in ("yes", "no", "on", "off", "Yes", "NO", "y", "n")),
        *((word, word) for word in ("1_000", "0b11", "1__0.5", "2024-01-01", "=", "01:30")),
        ("0o17", 15),
        ("0x1F", 31),
        ("-12", -12),
        ("+12", 12),
        ("0", 0),
        ("1e-3", 1e-3),
        ("1E3", 1000.0),
        (".5", 0.5),
        ("-1.", -1.0),
        ("00.5", 0.5),
        ("TRUE", True),
        ("~", None),
        ("", None),
        ("nUll", "nUll"),
    ],
)
def test_plain_words_mean_what_yaml_1_2_says(written, meant):
    found = yaml_files.parse(f"a: {written}\n", "")["a"]
    assert found == meant and type(found) is type(meant)
    if isinstance(meant, str):
        assert yaml_files.parse(f"{written}: 1\n", "") == {meant: 1}


@pytest.mark.parametrize(
    "value", ["1e3", "0o17", "no", "1:30", "010", "2024-01-01", "", "~", "<<", 1e-5, 1e300, -3, {}]
)
def test_what_is_written_is_read_alike_here_and_by_readers_of_yaml_1_1(value):
    text = yaml_files.dump({"a": [value]})
    assert yaml_files.parse(text, "") == yaml.safe_load(text) == {"a": [value]}


def test_files_with_and_without_a_mark_of_their_encoding(tmp_path):
    for encoding in ("utf-8", "utf-8-sig"):
        (tmp_path / "a.yaml").write_text("a: ü\n", encoding=encoding)
        assert yaml_files.read(tmp_path / "a.yaml") == {"a": "ü"}


@pytest.mark.parametrize("text", [laughs(), merges(), laughs(30, 30)])
def test_aliases_that_unfold_to_gigabytes_are_refused_at_once(text):
    start = time.monotonic()
    refused(text, "unfold to more than 200000 values")
    assert time.monotonic() - start < 5


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("a: &a [*a]", ["line 1", "an alias within what it stands for"]),
        ("a: " + "[" * 5000, ["nested more than 40 levels"]),
        ("a: " + "{a: " * 100, ["nested more than 40 levels"]),
        ("a: 1\nb: 2\na: 3", ["line 3", "'a' stands there twice"]),
        ("x: {a: 1, a: 1}", ["'a' stands there twice"]),
        ("1: x", ["a key must be text, write '1' in quotes"]),
        ("null: x", ["must be text"]),
        ("? [a]\n: x", ["must be text"]),
        ("a: .nan", ["neither text nor number"]),
        ("a: -.inf", ["neither text nor number"]),
        ("a: 1.0e+400", ["neither text nor number"]),
        ("a: " + "1" * 5000, ["more than 64 bits"]),
        ("a: 0x" + "f" * 5000, ["more than 64 bits"]),
        ("a: 9223372036854775808", ["more than 64 bits"]),
        ("a: 010", ["'010' begins with 0", "octal", "use quotes"]),
        ("a: -08", ["'-08' begins with 0"]),
        ("a: !!int 1:30", ["not a number, '1:30'"]),
        ("a: !!timestamp 2024-01-01", ["neither text nor number ('2024-01-01'): use quotes"]),
        ("a: !!binary aGVsbG8=", ["neither text nor number"]),
        ("a: !!set {x}", ["neither text nor number"]),
        ("a: !!python/object/apply:os.system [ls]", ["neither text nor number"]),
        ("a: !mine 3", ["neither text nor number"]),
        ("a: !!int x", ["not a number"]),
        ('a: "\\x1b[2J"', ["control character, '\\x1b'"]),
        ('a: "\\0"', ["control character"]),
        ('a: "\\ud800"', ["control character"]),
        ('a: "\\u202e"', ["control character"]),
        ('"\\a": 3', ["control character"]),
        ("a: \x00", ["special characters"]),
        ("a: [", ["line 1"]),
        ("a: 1\n---\nb: 2", ["single document"]),
        ("a: *gone", ["undefined alias"]),
    ],
)
def test_what_no_card_needs_is_refused_in_one_line(text, words):
    refused(text, *words)


def test_what_is_no_file_of_text_is_refused_without_waiting(tmp_path):
    os.mkfifo(tmp_path / "pipe")
    (tmp_path / "latin").write_bytes(b"a: \xe4")
    (tmp_path / "large").write_bytes(b"#" * (yaml_files.BYTES + 1))
    (tmp_path / "zero").symlink_to("/dev/zero")
    (tmp_path / "loop").symlink_to(tmp_path / "loop")
    for path, word in (
        (tmp_path, "a folder"),
        (tmp_path / "pipe", "a pipe"),
        (tmp_path / "zero", "a device"),
        (tmp_path / "latin", "no UTF-8 at byte 3"),
        (tmp_path / "large", "larger than 1 MiB"),
        (tmp_path / "loop", "cannot be read"),
        (tmp_path / "gone", "cannot be read"),
        (tmp_path / ("n" * 300), "cannot be read"),
        (tmp_path / "a\0b", "cannot be read"),
    ):
        with pytest.raises(InputError, match=word):
            yaml_files.read(path)
