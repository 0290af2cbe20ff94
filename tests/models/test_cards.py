import pytest
import yaml
from helpers.tiny import write_card, write_cards

from bench.core.errors import InputError
from bench.models.cards import (
    SHIPPED,
    card_file,
    first_seeds,
    is_shipped,
    load_cards,
    select,
    verify,
)


def refused(path, *words):
    with pytest.raises(InputError) as caught:
        [verify(card) for card in load_cards(path)]
    message = str(caught.value)
    assert "\n" not in message
    for word in words:
        assert word in message, message


def test_the_shipped_cards_are_known_by_their_content(tmp_path, cards):
    """An installed bench that is called in a checkout finds the checkout's file."""
    (shipped,) = (path for path in SHIPPED if path.is_file())
    path = tmp_path / "a copy.yaml"
    path.write_bytes(shipped.read_bytes())
    assert is_shipped(shipped) and is_shipped(path)
    path.write_bytes(shipped.read_bytes() + b"\n")
    assert not is_shipped(path) and not is_shipped(cards)


def test_good_cards_load_and_verify(cards):
    (card,) = load_cards(cards)
    assert verify(card) == card


def test_hash_is_filled_in_where_the_card_has_none(tmp_path):
    entry = write_card(tmp_path)
    digest = entry.pop("sha256")
    (card,) = load_cards(write_cards(tmp_path, [entry]))
    assert verify(card).sha256 == digest


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"colour": "red"}, ["'tiny'", "colour", "unknown"]),
        ({"method": ""}, ["'tiny'", "method", "missing"]),
        ({"method": 3}, ["'tiny'", "method", "must be text"]),
        ({"config": "x"}, ["'tiny'", "config", "mapping"]),
        (
            {"source": "zip"},
            [
                "'tiny'",
                "source",
                "known: adm, diffusers, edm, edm2, pipeline, python, safetensors",
            ],
        ),
        ({"dataset": "mars"}, ["'tiny'", "dataset", "fashion-mnist"]),
        ({"seeed": 3}, ["seeed", "unknown; did you mean 'seed'?"]),
        ({"Name": "x"}, ["Name", "did you mean 'name'?"]),
        ({"seed": True}, ["seed", "whole number"]),
        ({"seed": -1}, ["seed", "must be 0 or more, not -1"]),
        ({"force": "yes"}, ["force", "true or false"]),
        ({"assumed": "cosine"}, ["assumed", "list of texts"]),
        ({"assumed": [1]}, ["assumed", "list of texts"]),
        ({"method": "emma"}, ["'tiny'", "method", "unknown 'emma'", "did you mean 'ema'?"]),
        ({"method": "EMA"}, ["did you mean 'ema'?"]),
        ({"method": "sam+emaa"}, ["unknown 'emaa' in 'sam+emaa'; did you mean 'ema'?"]),
        ({"method": "mine"}, ["known: baseline, ema, swa, sam, ip; methods are joined by +"]),
        ({"method": "sam+"}, ["unknown ''"]),
        ({"method": "ema+ema"}, ["twice"]),
        ({"method": "baseline+ema"}, ["baseline beside others"]),
        ({"method": "ema@"}, ["write a setting as in ema@0.999"]),
        ({"name": " a"}, ["name", "one line without spaces at its ends"]),
        ({"name": "a\nb"}, ["name", "one line"]),
        ({"name": "1" * 5000}, ["name", "5000 characters, at most 200"]),
        ({"uri": "1" * 5000}, ["uri", "5000 characters, at most 4096"]),
        ({"uri": "n" * 300}, ["uri", "cannot be read (File name too long)"]),
        ({"uri": "~~/tiny.safetensors"}, ["uri", "no file"]),
        ({"uri": "../x.safetensors"}, ["'tiny'", "uri", "outside"]),
        ({"uri": "/etc/passwd"}, ["'tiny'", "uri", "outside"]),
        ({"uri": "zoo:../cli.py"}, ["'tiny'", "uri", "outside"]),
        ({"uri": "gone.safetensors"}, ["'tiny'", "uri", "no file"]),
        ({"sha256": "0" * 64}, ["'tiny'", "sha256", "corrupt"]),
    ],
)
def test_bad_fields(tmp_path, change, words):
    refused(write_cards(tmp_path, [write_card(tmp_path) | change]), *words)


def test_an_empty_list_of_cards_is_refused(tmp_path):
    refused(write_cards(tmp_path, []), "the list under `checkpoints:` is empty", "bench import")


@pytest.mark.parametrize(
    "method", ["baseline", "sam+ema", "ip+sam+swa", "ema@0.999", "sam+ema@0.9999", "sam@rho=0.1"]
)
def test_methods_and_their_combinations(tmp_path, method):
    (card,) = load_cards(write_cards(tmp_path, [write_card(tmp_path, method=method)]))
    assert card.method == method


def test_weights_that_are_a_loop_of_links(tmp_path):
    entry = write_card(tmp_path)
    (tmp_path / "tiny.safetensors").unlink()
    (tmp_path / "tiny.safetensors").symlink_to(tmp_path / "tiny.safetensors")
    refused(write_cards(tmp_path, [entry]), "'tiny'", "uri", "leads nowhere")


def test_duplicate_name(tmp_path):
    entry = write_card(tmp_path)
    refused(write_cards(tmp_path, [entry, entry]), "'tiny'", "name", "twice")


@pytest.mark.parametrize(
    "text",
    [
        "",
        "a: [",
        "checkpoints: 3",
        "checkpoints: [1]",
        "\x00",
        "checkpoints: [{name: a, name: b}]",
        "checkpoints: [{1: a}]",
        f"checkpoints: [{{name: {'1' * 5000}}}]",
        'checkpoints: [{name: "\\e[2J"}]',
        "checkpoints: [{seed: 1.0e+400}]",
    ],
)
def test_not_a_card_file(tmp_path, text):
    path = tmp_path / "checkpoints.yaml"
    path.write_text(text)
    refused(path, str(path))


@pytest.mark.parametrize(
    ("data", "word"),
    [
        (b"\x80\x04\x95payload", "pickle"),
        (b"PK\x03\x04zip", "pickle"),
        (b"version https://git-lfs.github.com/spec/v1", "LFS"),
    ],
)
def test_other_file_formats(tmp_path, data, word):
    entry = write_card(tmp_path)
    (tmp_path / "tiny.safetensors").write_bytes(data)
    refused(write_cards(tmp_path, [entry]), "'tiny'", word)


def test_select_by_name_or_method(tmp_path):
    entries = [write_card(tmp_path, "a"), write_card(tmp_path, "b", "sam+ema")]
    cards = load_cards(write_cards(tmp_path, entries))
    assert [card.name for card in select(cards, ["sam*", "a"])] == ["a", "b"]
    with pytest.raises(InputError, match="no checkpoint matches 'c'; there are: a, b"):
        select(cards, ["c"])


def test_shipped_cards_are_valid_and_their_files_match():
    path = card_file(None)
    assert yaml.safe_load(path.read_text())["checkpoints"]
    for card in load_cards(path):
        assert verify(card).sha256 == card.sha256


def test_repetitions_of_a_training_are_told_by_their_seed(tmp_path):
    entries = [
        write_card(tmp_path, "a2", seed=2),
        write_card(tmp_path, "a1", seed=1),
        write_card(tmp_path, "b5", method="sam", seed=5),
        write_card(tmp_path, "c9", family="other", seed=9),
    ]
    cards = load_cards(write_cards(tmp_path, entries))
    assert [card.name for card in first_seeds(cards)] == ["a1", "b5", "c9"]


@pytest.mark.parametrize(
    ("changes", "word"),
    [
        ({"reported": {"fid": "3.2"}}, "reported: fid must be a number"),
        ({"reported": {"fid": True}}, "reported: fid must be a number"),
        ({"sha256": "a880bfe59884"}, "sha256: must be 64"),
        ({"config": {"scale": float("nan")}}, "neither text nor number"),
        ({"seed": "one"}, "seed: must be a whole number"),
    ],
)
def test_values_that_a_report_could_not_hold_are_refused(tmp_path, changes, word):
    cards = write_cards(tmp_path, [write_card(tmp_path) | changes])
    with pytest.raises(InputError, match=word):
        load_cards(cards)
