"""Extensions of other packages: what they are enters keys and runs, and none takes a name."""

from dataclasses import replace

import pytest
from helpers.cells import Runs
from helpers.entry_point import install

from bench.core import extensions, tables
from bench.core.cell import Cell, Draw
from bench.core.errors import InputError
from bench.core.scheme import Scheme
from bench.evaluation import keys
from bench.measurement.features import identities
from bench.models.cards import load_cards
from bench.system.host import fingerprint

METRIC = """
from bench.measurement.metrics.paired import Psnr

class Mine(Psnr):
    name = "mine"
    version = {version}

    @staticmethod
    def identity():
        return {{"weights": "{weights}"}}
"""


@pytest.mark.parametrize(
    ("table", "name"),
    [
        ("metrics", "psnr"),
        ("extractors", "efficientnet"),
        ("samplers", "ddim"),
        ("backends", "simulated"),
        ("methods", "bias"),
        ("methods", "minmax"),
        ("sources", "safetensors"),
        ("datasets", "folder"),
        ("probes", "hessian"),
        ("engines", "local"),
    ],
)
def test_a_name_of_bench_is_not_replaced(site, table, name, bench):
    install(site, "evil", f"[bench.{table}]\n{name} = evil:Metric\n")
    with pytest.raises(InputError) as refused:
        extensions.lookup(table, name)
    assert str(refused.value).startswith(f"evil 1.0 offers a {table[:-1]} {name!r}, a name that")
    assert "bench itself has taken: uninstall evil" in str(refused.value)
    code, _, error = bench("list")
    assert code == 2 and "evil 1.0" in error and error.count("\n") == 1


def test_two_packages_with_one_name(site):
    install(site, "first", "[bench.metrics]\nmine = first:Metric\n")
    install(site, "second", "[bench.metrics]\nmine = second:Metric\n")
    with pytest.raises(InputError, match=r"mine', a name that (first|second) 1\.0 has taken"):
        extensions.require("metrics", "mine")


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        (None, "ModuleNotFoundError: No module named 'broken'"),
        ("import nothing_of_this_name", "ModuleNotFoundError: No module named 'nothing_of"),
        ("x = 1", "AttributeError: module 'broken' has no attribute 'Metric'"),
        ("raise RuntimeError('two\\nlines')", "RuntimeError: two lines"),
        ("x = (", "SyntaxError"),
    ],
)
def test_a_broken_package_is_one_line(site, text, reason, monkeypatch):
    monkeypatch.delitem(__import__("sys").modules, "broken", raising=False)
    module = "broken" if text is not None else ""
    install(site, "shaky", "[bench.metrics]\nmine = broken:Metric\n", "2.1", module, text)
    with pytest.raises(InputError) as refused:
        extensions.lookup("metrics", "mine")
    line = str(refused.value)
    assert line.startswith("metric 'mine' of shaky 2.1 cannot be imported from broken:Metric (")
    assert reason in line and "\n" not in line


def metric_key(site, monkeypatch, cell, distribution="1.0", version=1, weights="a", more=""):
    import sys

    monkeypatch.delitem(sys.modules, "mine", raising=False)
    for old in site.glob("*.dist-info/*"):
        old.unlink()
    for old in site.glob("*.dist-info"):
        old.rmdir()
    text = METRIC.format(version=version, weights=weights) + more
    points = "[bench.metrics]\nmine = mine:Mine\n"
    install(site, "other-metrics", points, distribution, "mine", text)
    # Python keeps compiled code of a file of the same second.
    sys.dont_write_bytecode = True
    return keys.of_record(cell, fingerprint(), {}), keys.identities([("metrics", "mine")])


def test_package_version_weights_and_code_of_a_metric_are_in_the_keys(site, monkeypatch, cards):
    card = load_cards(cards)[0]
    cell = Cell(card, Scheme(4, 8), "simulated", Draw(), metrics=("mine",))
    monkeypatch.setattr("sys.dont_write_bytecode", True)
    found = [
        metric_key(site, monkeypatch, cell, **change)[0]
        for change in (
            {},
            {"distribution": "1.1"},
            {"version": 2},
            {"weights": "b"},
            {"more": "x = 1\n"},
        )
    ]
    assert len(set(found)) == 5
    again, said = metric_key(site, monkeypatch, cell)
    assert again == found[0]
    assert said == {
        "metrics mine package": "other-metrics 1.0",
        "metrics mine version": "1",
        "metrics mine weights": "a",
    }
    assert keys.of_images(cell, fingerprint()) == keys.of_images(
        replace(cell, metrics=("psnr",)), fingerprint()
    )


def test_a_sampler_of_another_package_is_in_the_keys_of_images(site, cards, monkeypatch):
    card = load_cards(cards)[0]
    cell = Cell(card, Scheme(), "float", Draw(sampler="mine"))
    found = set()
    for version in ("1", "2"):
        for old in site.glob("*.dist-info"):
            old.rename(site / "gone")
        points = "[bench.samplers]\nmine = mysampler:sample\n"
        install(
            site,
            "s",
            points,
            version,
            "mysampler",
            "from bench.models.samplers.ddim import ddim as sample\n",
        )
        found.add(keys.of_images(cell, fingerprint()))
    assert len(found) == 2


def test_an_identity_that_is_no_mapping_is_refused(site):
    text = "class Mine:\n    identity = staticmethod(lambda: 'x')\n"
    install(site, "odd", "[bench.metrics]\nodd = oddmodule:Mine\n", "1", "oddmodule", text)
    with pytest.raises(InputError, match=r"metric 'odd' of odd 1: identity\(\) gives no mapping"):
        extensions.identity("metrics", "odd")


@pytest.mark.parametrize(
    ("body", "says"),
    [
        ("identity = staticmethod(lambda: 1 / 0)", "identity() fails (ZeroDivisionError: "),
        ("identity = staticmethod(lambda: exit(0))", "identity() fails (SystemExit: 0)"),
        ("def identity(self): return {}", "identity() fails (TypeError: "),
        ("identity = staticmethod(lambda: {'a': object()})", "a value of type object for 'a'"),
        ("identity = staticmethod(lambda: {'a': None})", "a value of type NoneType for 'a'"),
        ("version = '1.0'", "its version is a value of type str, not a whole number"),
        ("version = None", "its version is a value of type NoneType, not a whole number"),
        ("exit(0)", "cannot be imported from junk:Mine (SystemExit: 0)"),
    ],
)
def test_junk_that_a_package_says_of_itself_is_one_line(site, body, says, monkeypatch):
    monkeypatch.delitem(__import__("sys").modules, "junk", raising=False)
    text = f"class Mine:\n    {body}\n"
    install(site, "junk", "[bench.metrics]\njunk = junk:Mine\n", "1", "junk", text)
    with pytest.raises(InputError) as refused:
        extensions.identity("metrics", "junk")
    line = str(refused.value)
    assert line.startswith("metric 'junk' of junk 1") and says in line and "\n" not in line


@pytest.mark.parametrize(
    "junk",
    [
        "'high'",
        pytest.param("float('nan'), unit=3", marks=pytest.mark.slow),
        pytest.param("1.0, n='many'", marks=pytest.mark.slow),
        "None",
    ],
)
def test_a_number_that_no_reader_takes_fails_its_cell(site, cards, monkeypatch, tmp_path, junk):
    monkeypatch.delitem(__import__("sys").modules, "odd", raising=False)
    text = METRIC.format(version=1, weights="a").replace("mine", "odd").replace("Mine", "Odd")
    text += f"""
    def measure(self, evidence):
        from dataclasses import replace
        value, terms = super().measure(evidence)
        return replace(value, value={junk}), terms
"""
    install(site, "odd", "[bench.metrics]\nodd = odd:Odd\n", "1", "odd", text)
    card = load_cards(cards)[0]
    draw = Draw(steps=1, images=2, batch=2)
    cell = Cell(card, Scheme.parse("w8a8"), "simulated", draw, ("efficientnet",), ("odd",))
    record = Runs(tmp_path / "cache").run(cell)
    assert (record.status, record.measurements) == ("failed", ())
    assert not list((tmp_path / "cache").glob("records/*"))


def test_weights_of_the_embedded_network_are_in_keys_and_in_the_run(cards, monkeypatch, tmp_path):
    host = fingerprint()
    cell = Cell(load_cards(cards)[0], Scheme(), "float", Draw())
    images = keys.of_images(cell, host)
    before = keys.of_features(images, "efficientnet", host), keys.of_record(cell, host, {})
    recorded = Runs(tmp_path).resolve(cell).host.versions
    assert recorded["extractors efficientnet weights"] == identities.PUBLISHED
    assert recorded["extractors efficientnet package"].startswith(identities.WEIGHTS)
    other = tmp_path / "other.pth"
    other.write_bytes(b"other weights")
    monkeypatch.setattr(identities, "weights", lambda: other)
    after = keys.of_features(images, "efficientnet", host), keys.of_record(cell, host, {})
    assert before[0] != after[0] and before[1] != after[1]
    assert keys.of_images(cell, host) == images


def test_identities_of_bench_need_no_torch(tmp_path, monkeypatch):
    import subprocess
    import sys

    for name in ("config.json", "model.safetensors", "tokenizer.json"):
        (tmp_path / name).write_text('{"model_type": "clip"}', encoding="utf-8")
    monkeypatch.setenv("BENCH_CLIP_SCORE", str(tmp_path))
    code = (
        "import sys; from bench.core import extensions, tables;"
        "[extensions.identity('extractors', n) for n in tables.EXTRACTORS if n[0] in 'ei'];"
        "[extensions.identity(t, n) for t in ('backends', 'sources', 'samplers', 'metrics') "
        "for n in tables.TABLES[t]]; assert 'torch' not in sys.modules"
    )
    subprocess.run([sys.executable, "-c", code], check=True)


def test_every_line_of_identities_names_an_entry():
    for line in tables.IDENTITIES:
        table, name = line.split(" ")
        assert name in tables.TABLES[table]
