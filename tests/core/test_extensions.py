import pytest

from bench.core import extensions, tables
from bench.core.errors import InputError
from bench.models.cards import load_cards


@pytest.mark.parametrize("table", tables.TABLES)
def test_every_name_imports(table):
    for name in tables.TABLES[table]:
        assert callable(extensions.lookup(table, name))


@pytest.fixture(autouse=True)
def fresh_entry_points():
    """No test sees the entry points that another one put there."""
    extensions._points.cache_clear()
    yield
    extensions._points.cache_clear()


def test_unknown_name_offers_a_near_one():
    with pytest.raises(InputError, match="did you mean 'ddim'"):
        extensions.lookup("samplers", "ddimm")
    with pytest.raises(InputError, match="known: ddim, ddpm"):
        extensions.lookup("samplers", "zzz")


def test_entry_points_extend_a_table(monkeypatch):
    class Point:
        name = "euler"

        @staticmethod
        def load():
            return "loaded"

    monkeypatch.setattr(extensions.metadata, "entry_points", lambda group: [Point])
    assert extensions.lookup("samplers", "euler") == "loaded"
    assert "euler" in extensions.names("samplers")


def test_a_name_with_an_argument_is_bound(monkeypatch):
    class Point:
        name = "twice"

        @staticmethod
        def load():
            return lambda split, argument="": (split, argument)

    monkeypatch.setattr(extensions.metadata, "entry_points", lambda group: [Point])
    assert extensions.lookup("datasets", "twice:/x/y:z@64")("test") == ("test", "/x/y:z@64")
    assert extensions.lookup("datasets", "twice")("test") == ("test", "")
    assert extensions.plain("twice:/x/y:z@64") == extensions.plain("twice") == "twice"


def test_an_argument_where_none_is_taken_is_refused():
    with pytest.raises(InputError, match="dataset 'cifar10' takes no argument, in 'cifar10:/x'"):
        extensions.lookup("datasets", "cifar10:/x")
    with pytest.raises(InputError, match="backend 'simulated' takes no argument"):
        extensions.lookup("backends", "simulated:8")


def test_an_unknown_name_with_an_argument_offers_a_near_one():
    with pytest.raises(InputError, match="unknown dataset 'foldr': did you mean 'folder'"):
        extensions.lookup("datasets", "foldr:/x")


def test_a_card_may_name_a_data_set_with_an_argument(tmp_path):
    path = tmp_path / "checkpoints.yaml"
    card = "{name: a, family: f, method: baseline, source: safetensors, uri: a, dataset: %r}"
    path.write_text("checkpoints:\n- " + card % "folder:/x/y@64")
    assert load_cards(path)[0].dataset == "folder:/x/y@64"
    path.write_text("checkpoints:\n- " + card % "foldr:/x")
    with pytest.raises(InputError, match="field dataset: unknown 'foldr:/x'; known: cifar10"):
        load_cards(path)
