"""Folders on cards are relative to the card, wherever the command is called."""

import pytest
from helpers.tiny import write_card, write_cards

from bench.models.card_datasets import from_card, from_here
from bench.models.cards import load_cards


@pytest.fixture
def place(tmp_path, monkeypatch):
    for name in ("project/cards", "project/photos", "elsewhere"):
        (tmp_path / name).mkdir(parents=True)
    monkeypatch.chdir(tmp_path / "project")
    return tmp_path


@pytest.mark.parametrize(
    ("card", "on_card", "here"),
    [
        ("mine.yaml", "folder:photos@64", "folder:photos@64"),
        ("cards/mine.yaml", "folder:../photos@64", "folder:photos@64"),
        ("cards/mine.yaml", "folder:faces", "folder:cards/faces"),
        ("{}/project/cards/mine.yaml", "folder:../photos@64", "folder:photos@64"),
        ("../elsewhere/mine.yaml", "folder:photos@64", "folder:{}/elsewhere/photos@64"),
    ],
)
def test_a_relative_folder_is_the_same_one_from_both_sides(place, card, on_card, here):
    card = place / "project" / card.format(place)
    assert from_here(card, on_card) == here.format(place)
    assert from_card(card, here.format(place)) in (on_card, here.format(place))
    assert from_here(card, from_card(card, here.format(place))) == here.format(place)


@pytest.mark.parametrize("name", ["cifar10", "folder", "folder:", "folder:/x@64", "folder:~/x@64"])
def test_all_else_stays_as_it_is(place, name):
    assert from_here(place / "elsewhere" / "a.yaml", name) == name
    assert from_card(place / "elsewhere" / "a.yaml", name) == name


def test_a_folder_outside_of_both_is_absolute(place):
    card = place / "elsewhere" / "a.yaml"
    assert from_card(card, "folder:photos") == f"folder:{place}/project/photos"


def test_cards_are_read_so(place):
    entry = write_card(place / "project" / "cards") | {"dataset": "folder:../photos@16"}
    (card,) = load_cards(write_cards(place / "project" / "cards", [entry]))
    assert card.dataset == "folder:photos@16"
