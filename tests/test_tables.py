import pytest

from bench import tables
from bench.errors import InputError


@pytest.mark.parametrize("table", tables.TABLES)
def test_every_name_imports(table):
    for name in tables.TABLES[table]:
        assert callable(tables.lookup(table, name))


def test_unknown_name_offers_a_near_one():
    with pytest.raises(InputError, match="did you mean 'ddim'"):
        tables.lookup("samplers", "ddimm")
    with pytest.raises(InputError, match="known: ddim, ddpm"):
        tables.lookup("samplers", "zzz")


def test_entry_points_extend_a_table(monkeypatch):
    class Point:
        name = "euler"

        @staticmethod
        def load():
            return "loaded"

    monkeypatch.setattr(tables.metadata, "entry_points", lambda group: [Point])
    assert tables.lookup("samplers", "euler") == "loaded"
    assert "euler" in tables.names("samplers")
