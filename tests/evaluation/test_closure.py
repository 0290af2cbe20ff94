"""Keys follow the code: a module of bench, edited in a copy, changes the keys that rest on it."""

import json
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from bench.core import extensions, tables
from bench.evaluation import closure

ROOT = Path(closure.__file__).parents[1]
# Edits every module of the copy of bench that is imported, one after the other, and prints which
# keys change. Keys read files and not what is imported, so one process is enough.
EDITING = """
import json, sys
from pathlib import Path
from dataclasses import asdict, replace
import bench
from bench.evaluation import closure, keys
from bench.system.host import fingerprint
from bench.core.cell import Cell, Checkpoint, Draw
from bench.core.scheme import Scheme

root, host = Path(bench.__file__).parent, fingerprint()
card = Checkpoint("a", "f", "m", "safetensors", "uri", "0" * 64, "fashion-mnist")
cell = Cell(card, Scheme(4, 8), "simulated", Draw(), metrics=("kernel", "psnr"))
x86 = replace(cell, backend="int8-x86", metrics=("kernel", "psnr", "psnr_simulated"))
other = replace(cell, checkpoint=replace(card, source="adm"), metrics=("frechet",))
corrected = replace(cell, scheme=Scheme(4, 8, methods=("bias",)))
explained = {"schemes": [asdict(corrected.scheme)]}
wanted = {"draw": {"sampler": "ddim"}, "backend": "simulated"}

# What a module's file holds is read anew where it was edited, and else only once.
read, kept = closure._source.__wrapped__, {}

def source(name):
    if name not in kept:
        kept[name] = read(name)
    return kept[name]

closure._source = source

def found():
    closure._hash.cache_clear()
    return {
        "images": keys.of_images(cell, host),
        "images x86": keys.of_images(x86, host),
        "images adm": keys.of_images(other, host),
        "images bias": keys.of_images(corrected, host),
        "calibration": keys.of_calibration(cell, host),
        "calibration bias": keys.of_calibration(corrected, host),
        "features": keys.of_features(keys.of_images(cell, host), "efficientnet", host),
        "features inception": keys.of_features(keys.of_images(cell, host), "inception", host),
        "record": keys.of_record(cell, host, {}),
        "record x86": keys.of_record(x86, host, {}),
        "record frechet": keys.of_record(other, host, {}),
        "hessian": keys.of_probe(card, "hessian", wanted, host),
        "prior": keys.of_probe(card, "prior", wanted, host),
        "hessian bias": keys.of_probe(card, "hessian", wanted | explained, host),
    }

before = found()
assert found() == before
changed = {}
for path in sorted(root.rglob("*.py")):
    text = path.read_bytes()
    name = ".".join(path.relative_to(root).with_suffix("").parts)
    dotted = f"bench.{name}".removesuffix(".__init__")
    path.write_bytes(text + b"\\nEDITED = True\\n")
    kept.pop(dotted, None)
    after = found()
    path.write_bytes(text)
    kept.pop(dotted, None)
    changed[name] = [key for key in before if after[key] != before[key]]
kept.clear()
closure._path.cache_clear()
assert found() == before
assert "torch" not in sys.modules
print(json.dumps(changed))
"""
IMAGES = {"images", "images x86", "images adm", "images bias"}
FEATURES = {"features", "features inception"}
RECORDS = {"record", "record x86", "record frechet"}
PROBES = {"hessian", "prior", "hessian bias"}
ALL = {*IMAGES, "calibration", "calibration bias", *FEATURES, *RECORDS, *PROBES}
# What must change for an edit of a module, told from what the module does.
EXPECTED = {
    # Every number.
    **dict.fromkeys(
        (
            "core.cell",
            "models.samplers.noise",
            "evaluation.generation",
            "core.extensions",
            "core.tables",
            "system.artifacts",
            "core.shards",
            "core.images",
        ),
        ALL,
    ),
    # A source of its own cards alone, a kernel of its own backend.
    "models.sources.state_dicts": ALL,
    "models.sources.adm": {"images adm", "record frechet"},
    "models.sources.diffusers_folder": set(),
    "quant.graph": ALL,
    "quant.methods.applying": ALL,
    "quant.allocation": ALL,
    "measurement.probes.allocation": set(),
    # A method of the schemes that name it alone.
    "quant.methods.bias_correction": {"images bias", "calibration bias", "hessian bias"},
    "quant.methods.squared_error": set(),
    "quant.kernels.onednn": {"images x86", "record x86"},
    "quant.backends.linear_only": set(),
    # What looks at images does not make them.
    "evaluation.scoring": FEATURES | RECORDS,
    "evaluation.extraction": FEATURES | RECORDS | PROBES,
    "evaluation.pipeline": RECORDS,
    "evaluation.records": RECORDS,
    "measurement.features.efficientnet": {"features"} | RECORDS | PROBES,
    "measurement.features.inception": {"features inception"},
    "measurement.features.vit": set(),
    "measurement.metrics.kernel": {"record", "record x86"} | PROBES,
    "measurement.metrics.paired": {"record", "record x86"} | PROBES,
    "measurement.metrics.precision_recall": set(),
    "measurement.metrics.cmmd": set(),
    "core.estimates": FEATURES | RECORDS | PROBES,
    "measurement.features.reference": FEATURES | RECORDS | PROBES,
    "measurement.probes.hessian": {"hessian", "hessian bias"},
    "measurement.probes.prior_shift": {"prior"},
    "measurement.probes.context": PROBES,
    "models.training.objective": PROBES,
    "models.training.loop": set(),
    "measurement.data.fashion_mnist": PROBES,
}
# Whoever only asks, compares, writes pages or keeps cards makes no number.
IDLE = (
    "api",
    "cli.app",
    "cli.execution",
    "evaluation.planning",
    "models.cards",
    "report",
    "verdicts.comparison",
    "verdicts.claims",
    "verdicts.correlations",
    "cli.history",
    "verdicts.baseline",
    "verdicts.findings",
    "verdicts.thresholds",
    "verdicts.history",
    "verdicts.methods",
    "verdicts.paired_difference",
    "evaluation.suite",
    "evaluation.sequential",
    "evaluation.worker",
    "evaluation.resolved",
    "evaluation.cost",
    "evaluation.speed",
    "system.progress",
    "cli.flags",
    "cli.compare",
    "cli.probe",
    "evaluation.importing",
    "evaluation.skip_lists",
    "verdicts.decisions",
    "measurement.features.exchange",
    "evaluation.engines",
    "__main__",
    "__init__",
    "evaluation.probing",
    "system.store",
    "cli.reference",
    "cli.speed",
)


@pytest.fixture(scope="module")
def changed(tmp_path_factory):
    """The keys that an edit of each module changes, by module."""
    folder = tmp_path_factory.mktemp("copy")
    ignored = shutil.ignore_patterns("__pycache__", "zoo")
    shutil.copytree(ROOT, folder / "bench", ignore=ignored)
    words = [sys.executable, "-c", EDITING]
    done = subprocess.run(words, cwd=folder, capture_output=True, text=True, check=True)
    return {name: set(keys) for name, keys in json.loads(done.stdout).items()}


def test_an_edit_changes_the_keys_that_rest_on_it_and_no_others(changed):
    assert set(EXPECTED) <= set(changed)
    wrong = {
        name: (changed[name] - keys, keys - changed[name])
        for name, keys in EXPECTED.items()
        if changed[name] != keys
    }
    assert not wrong, wrong


def test_what_only_talks_about_numbers_changes_no_key(changed):
    idle = {
        name: keys
        for name, keys in changed.items()
        if any(f"{name}.".startswith(f"{start}.") for start in IDLE)
    }
    assert len(idle) > 40
    assert all(any(f"{name}.".startswith(f"{start}.") for name in changed) for start in IDLE)
    assert {name: keys for name, keys in idle.items() if keys} == {}


@pytest.mark.slow
def test_what_is_imported_while_images_are_made_is_in_their_key(cards, tmp_path):
    """The modules that a program that only samples has loaded at its end."""
    program = f"""
import sys
from pathlib import Path
from bench.evaluation import keys
from bench.evaluation.closure import closure
from bench.system.host import fingerprint
from bench.core.record import Host
from bench.models.cards import load_cards, verify
from bench.core.cell import Cell, Draw
from bench.core.scheme import Scheme
card = verify(load_cards(Path({str(cards)!r}))[0])
from bench.evaluation.resolved import images_of
cell = Cell(card, Scheme(4, 8, calibration=2), "simulated", Draw(steps=1, images=2, batch=2))
wanted = images_of(cell, fingerprint(), Path({str(tmp_path / "c")!r}))
before = set(sys.modules)
from bench.evaluation.generation import Generation
from bench.core.progress import finished
finished(Generation("cpu").images(wanted))
roots = [keys.IMAGES, *(keys.extensions.module(*entry) for entry in keys.image_entries(cell))]
loaded = {{name for name in set(sys.modules) - before if name.split(".")[0] == "bench"}}
packages = {{name for name in loaded if hasattr(sys.modules[name], "__path__")}}
missing = loaded - packages - closure(roots)
assert len(loaded) > 15 and not missing, missing
"""
    subprocess.run([sys.executable, "-c", program], check=True)


@pytest.fixture
def package(tmp_path, monkeypatch):
    """A package of another author."""
    files = {
        "__init__.py": "import typing\nif typing.TYPE_CHECKING:\n    import otherpkg.typed\n",
        "a.py": "from . import b\ndef f():\n    from otherpkg.deep.c import d\n    import numpy\n",
        "b.py": "try:\n    from .deep import name\nexcept OSError:\n    from . import fallback\n",
        "deep/__init__.py": "name = 1\n",
        "deep/c.py": "from ..last import *\nfrom .. import name\n",
        "last.py": "def g():\n    if 1:\n        with x:\n            import otherpkg.inner\n",
        "inner.py": "match 1:\n    case 1:\n        from otherpkg import cased\n",
        **dict.fromkeys(("typed.py", "fallback.py", "cased.py", "unused.py"), ""),
    }
    for name, text in files.items():
        path = tmp_path / "otherpkg" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
    monkeypatch.syspath_prepend(tmp_path)
    for cached in (closure._hash, closure._source, closure._path, closure._folders):
        cached.cache_clear()
    return tmp_path / "otherpkg"


def test_imports_of_every_form_are_followed(package):
    found = closure.closure(["otherpkg.a"])
    names = ("a", "b", "deep", "deep.c", "fallback", "last", "inner", "cased")
    assert found == {"otherpkg", *(f"otherpkg.{name}" for name in names)}


def test_the_hash_follows_any_of_them(package):
    before = closure.code_hash(["otherpkg.a"])
    for name, same in (("unused.py", True), ("typed.py", True), ("cased.py", False)):
        (package / name).write_text("x = 1\n")
        for cached in (closure._hash, closure._source):
            cached.cache_clear()
        assert (closure.code_hash(["otherpkg.a"]) == before) is same, name


def test_a_module_alone(tmp_path, monkeypatch):
    (tmp_path / "lonely.py").write_text("x = 1\n")
    monkeypatch.syspath_prepend(tmp_path)
    assert closure.closure(["lonely"]) == {"lonely"}
    assert closure._path("lonely") == tmp_path / "lonely.py"


def test_entries_that_are_written_out_are_followed():
    assert closure._looked_up('tables.lookup("metrics", "kernel")') == [
        "bench.measurement.metrics.kernel"
    ]
    assert closure._looked_up('lookup("TABLE", "NAME")') == []


def test_every_entry_of_every_table_is_a_file():
    for table, entries in tables.TABLES.items():
        for name in entries:
            assert closure._path(extensions.module(table, name)), (table, name)
