"""Cards that are added to a card file: its text stays, and nothing is half-written."""

import pytest
import yaml

from bench.core.errors import InputError
from bench.models import card_files
from bench.models.cards import load_cards

ENTRY = {
    "name": "b",
    "family": "mine",
    "method": "ema",
    "source": "safetensors",
    "uri": "b.safetensors",
    "dataset": "cifar10",
    "config": {"shape": [3, 32, 32]},
}
TEXT = """# of mine
checkpoints:
  - name: a   # the first
    family: mine
    method: baseline
    source: safetensors
    uri: a.safetensors
    dataset: cifar10
"""


def test_the_text_stays_and_the_card_follows(tmp_path):
    path = tmp_path / "cards.yaml"
    path.write_text(TEXT)
    card_files.append(path, ENTRY, "# assumed: much\n")
    text = path.read_text()
    assert text.startswith(f"{TEXT}  # assumed: much\n  - name: b\n")
    assert yaml.safe_load(text)["checkpoints"][1] == ENTRY
    assert [card.name for card in load_cards(path)] == ["a", "b"]


def test_a_name_that_is_there_is_refused(tmp_path):
    path = tmp_path / "cards.yaml"
    path.write_text(TEXT)
    card_files.check_room(path, "b")
    with pytest.raises(InputError, match="has a card 'a' already"):
        card_files.check_room(path, "a")


def test_a_file_that_does_not_end_with_its_list_stays_as_it_is(tmp_path):
    path = tmp_path / "cards.yaml"
    flow = "checkpoints: [{name: a, family: m, method: ema, source: torch, uri: a, dataset: ffhq}]"
    for text in (f"{TEXT}more: 1\n", f"{flow}\n"):
        path.write_text(text)
        with pytest.raises(InputError, match="add it by hand"):
            card_files.append(path, ENTRY, "")
        assert path.read_text() == text
        assert [there.name for there in tmp_path.iterdir()] == ["cards.yaml"]
