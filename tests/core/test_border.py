"""What comes in from files is held against its types and against itself, once, at the border."""

import json
import math
import os
import subprocess
import sys
from pathlib import Path

import pytest
from helpers.records import CELL, RUN

from bench import report
from bench.core import border, probe_record, record
from bench.core.errors import InputError
from bench.core.migrations import migrate
from bench.core.record import run_from_json, to_json
from bench.evaluation import suite
from bench.models.training.recipes import RECIPES
from bench.system.runs import read_run
from bench.verdicts import baseline, thresholds

ROOT = Path(__file__).parents[2]


def changed(*path, to, text=None):
    """The JSON of a run with one value changed."""
    data = json.loads(text or to_json(RUN))
    holder = data
    for key in path[:-1]:
        holder = holder[key]
    holder[path[-1]] = to
    return json.dumps(data)


MEASUREMENT = ("records", 0, "measurements", 0)
COVERAGE = ("records", 0, "coverage")
DRAW = ("records", 0, "cell", "draw")


@pytest.mark.parametrize(
    "path, to, reason",
    [
        (("id",), "../x", "no name of a folder"),
        (("id",), "", "no name of a folder"),
        (("id",), "a/b", "no name of a folder"),
        (("id",), "x" * 300, "no name of a folder"),
        (("id",), 5, "id: Input should be a valid string"),
        (("bogus",), 1, "bogus: Unexpected"),
        (("dirty",), 1, "valid boolean"),
        (("records",), {}, "valid (array|list|tuple)"),
        (("schema",), True, "schema True"),
        (("schema",), [], "schema"),
        (("schema",), 2**70, "63 bits"),
        (("records", 0, "status"), "fine", "ok, refused, failed"),
        (("records", 0, "seconds"), {"sample": -1.0}, "-1.0 seconds"),
        (("records", 0, "seconds"), {"sample": math.nan}, "nan seconds"),
        (("records", 0, "bogus"), 1, "bogus"),
        ((*DRAW, "images"), -5, "images must be at least 1"),
        ((*DRAW, "images"), True, "valid integer"),
        ((*DRAW, "images"), 5.5, "valid integer"),
        ((*DRAW, "images"), "5", "valid integer"),
        ((*DRAW, "images"), 10**25, "63 bits"),
        ((*DRAW, "eta"), math.inf, "eta"),
        (("records", 0, "cell", "scheme", "weight_bits"), 9, "weight bits"),
        (("records", 0, "cell", "scheme", "skip"), ["a b"], "no glob"),
        ((*MEASUREMENT, "better"), "sideways", "lower or higher"),
        ((*MEASUREMENT, "n"), -1, "N = -1"),
        ((*MEASUREMENT, "low"), 99.0, "ends before it begins"),
        ((*MEASUREMENT, "value"), "30", "valid number"),
        ((*MEASUREMENT, "value"), None, "valid number"),
        ((*COVERAGE, "macs"), -1, "macs is -1"),
        ((*COVERAGE, "macs_quantized"), 101, "more is quantized"),
        ((*COVERAGE, "skipped"), [["a"]], "skipped"),
        ((*COVERAGE, "macs_by_bits"), [], "macs_by_bits"),
        (("records", 0, "cell", "checkpoint", "config"), {"a": [[[0] * 3]] * 2}, None),
        (("commit",), "\ud800", "lone surrogate"),
        ((*MEASUREMENT, "value"), math.nan, None),
        ((*MEASUREMENT, "high"), math.inf, None),
        ((*MEASUREMENT, "unit"), "furlongs", None),
        ((*MEASUREMENT, "better"), "lower", None),
        (("records", 0, "measurements"), [], None),
    ],
)
def test_what_cannot_have_happened_is_refused(path, to, reason):
    """Another unit or direction can: whether that compares is for the gate."""
    text = changed(*path, to=to)
    if reason is None:
        assert run_from_json(text).records
        return
    with pytest.raises(InputError, match=reason) as caught:
        run_from_json(text)
    assert "\n" not in str(caught.value) and len(str(caught.value)) < 400


def test_a_cell_or_a_number_that_is_there_twice():
    data = json.loads(to_json(RUN))
    with pytest.raises(InputError, match=r"records\.1: the cell .* is there twice"):
        run_from_json(json.dumps(data | {"records": 2 * data["records"]}))
    numbers = data["records"][0]["measurements"]
    with pytest.raises(InputError, match="measured twice"):
        run_from_json(changed("records", 0, "measurements", to=2 * numbers))


@pytest.mark.parametrize("depth", [61, 900, 100_000])
def test_depth_is_bounded(depth):
    text = changed("records", 0, "cell", "checkpoint", "config", to={"x": "HERE"})
    for parse in (run_from_json, probe_record.from_json):
        with pytest.raises(InputError, match="nested too deeply"):
            parse(text.replace('"HERE"', "[" * depth + "]" * depth))


def odd_files(folder):
    """Things that may lie where a text file should."""
    os.mkfifo(folder / "pipe")
    (folder / "folder").mkdir()
    (folder / "zero").symlink_to("/dev/zero")
    (folder / "loop").symlink_to("loop")
    (folder / "latin").write_bytes(b'{"id": "caf\xe9"}')
    (folder / "utf-16").write_bytes('{"id": "x"}'.encode("utf-16"))
    (folder / "empty").write_bytes(b"")
    (folder / "nulls").write_bytes(bytes(100))
    (folder / "word").write_text("5")
    (folder / "deep").write_text("[" * 100_000)
    return ["pipe", "folder", "zero", "loop", "latin", "utf-16", "empty", "nulls", "word", "deep"]


@pytest.mark.parametrize(
    "read",
    [
        lambda path: read_run(path),
        lambda path: probe_record.read(path),
        lambda path: thresholds.read(path),
        lambda path: suite.find(str(path)),
    ],
    ids=["run", "probes", "thresholds", "suite"],
)
def test_files_that_are_no_text_of_ours(tmp_path, read):
    for name in [*odd_files(tmp_path), "nothing", "x" * 5000, "a\0b"]:
        with pytest.raises(InputError) as caught:
            read(tmp_path / name)
        assert str(caught.value).isprintable() and len(str(caught.value)) < 600, name


def test_a_byte_order_mark_is_passed_over(tmp_path):
    path = tmp_path / "run.json"
    path.write_bytes(b"\xef\xbb\xbf" + to_json(RUN).encode())
    assert read_run(path) == RUN


def test_a_report_of_a_run_json_that_is_a_folder(bench, tmp_path):
    (tmp_path / "r" / "run.json").mkdir(parents=True)
    for words in (("report", "r"), ("compare", "r", "r"), ("history",)):
        code, out, err = bench(*words, "--out", tmp_path)
        assert (code, out, len(err.splitlines())) == (2, "", 1), words


@pytest.mark.parametrize(
    "path", sorted((ROOT / "reports").glob("*/run.json")), ids=lambda path: path.parent.name
)
def test_committed_runs_keep_every_number(path):
    """Field by field as JSON has them, older schemas after the same steps."""
    data = json.loads(path.read_text(encoding="utf-8"))
    read = json.loads(to_json(read_run(path)))
    lacking = ("layers", "agreement", "macs_by_kernel", "bytes_stored", "bytes_memory")
    unguided = [("guidance", 1.0), ("guided_to", 1.0)]

    def same(ours, theirs, place):
        if isinstance(theirs, dict):
            for name, value in theirs.items():
                same(ours[name], value, f"{place}.{name}")
            for name in set(ours) - set(theirs):
                plain = ours[name] in ("", 0, "test", None, [], {})
                assert name in lacking or plain or (name, ours[name]) in unguided, place
        elif isinstance(theirs, list):
            assert len(ours) == len(theirs)
            for k, (a, b) in enumerate(zip(ours, theirs, strict=True)):
                same(a, b, f"{place}.{k}")
        else:
            assert type(ours) is type(theirs) and (ours == theirs or ours != ours), place

    same(read, migrate(data, record.SCHEMA), "")


def test_the_committed_schema_is_that_of_the_types():
    """Written anew by `python -m bench.core.record > docs/run.schema.json`."""
    assert (ROOT / "docs" / "run.schema.json").read_text(encoding="utf-8") == record.schema()


def test_listing_imports_no_validation():
    code = "import sys, bench.cli.app, bench.report; assert 'pydantic' not in sys.modules"
    subprocess.run([sys.executable, "-c", code], check=True)


@pytest.mark.parametrize(
    "line, reason",
    [
        ("{", "not an accepted baseline"),
        ("", "not an accepted baseline"),
        ("[]", "not an accepted baseline"),
        ('{"run": "a", "reason": "b"}', "accepted"),
        ('{"run": "a", "reason": "b", "accepted": "c", "x": 1}', "x: "),
        ('{"run": 5, "reason": "b", "accepted": "c"}', "run: "),
        ('{"run": "../x", "reason": "b", "accepted": "c"}', "no name of a folder"),
        ("[" * 5000, "nested too deeply"),
        ("9" * 5000, "not an accepted baseline"),
    ],
)
def test_broken_baselines_are_named_by_their_line(tmp_path, line, reason):
    good = '{"run": "a", "reason": "one\u2028two", "accepted": "c"}'
    (tmp_path / baseline.NAME).write_text(f"{good}\n{line}\n", encoding="utf-8")
    with pytest.raises(InputError, match=reason) as caught:
        baseline.pins(tmp_path)
    assert "line 2" in str(caught.value)
    (tmp_path / baseline.NAME).write_bytes(b"\xff\xfe")
    with pytest.raises(InputError, match="UTF-8"):
        baseline.pins(tmp_path)


def test_a_reason_of_several_kinds_of_lines_stays_one(tmp_path):
    good = '{"run": "a", "reason": "one\u2028two", "accepted": "c"}'
    (tmp_path / baseline.NAME).write_text(f"{good}\n", encoding="utf-8")
    assert baseline.pins(tmp_path)[0].reason == "one\u2028two"


SUITE = (suite.FOLDER / "fashion-mnist.yaml").read_text(encoding="utf-8")


@pytest.mark.parametrize(
    "old, new, reason",
    [
        ("steps: ", 'steps: [""]\nx: ', "field x"),
        (None, 'steps: [""]', "steps.0: Input should be a valid integer"),
        (None, "steps: [true]", "valid integer"),
        (None, "steps: [0]", "steps must be at least 1"),
        (None, "steps: [5000]", "at most 1000"),
        (None, "steps: 20", "must be a list"),
        (None, "images: true", "images"),
        (None, "images: 0", "images must be at least 1"),
        (None, "metrics: [[psnr]]", "metrics.0"),
        (None, "metrics: [psnrr]", "did you mean 'psnr'"),
        (None, "sampler: 5", "sampler"),
        (None, "sampler: ddimm", "did you mean 'ddim'"),
        (None, "reported: {ema: 5}", "figures by name"),
        (None, "reported: {ema: {FID: x}}", "figures by name"),
        (None, "dataset: [fashion-mnist]", "dataset"),
    ],
)
def test_suites(tmp_path, old, new, reason):
    path = tmp_path / "own.yaml"
    field = new.partition(":")[0]
    kept = [line for line in SUITE.splitlines() if not line.startswith((f"{field}:", " "))]
    if old:
        text = SUITE.replace(old, new)
    else:
        kept = [line for line in kept if not line.startswith("reported:")]
        text = "\n".join([*kept, new])
    path.write_text(text)
    with pytest.raises(InputError, match=reason) as caught:
        suite.find(str(path))
    assert str(caught.value).startswith(str(path))


@pytest.mark.parametrize(
    "text",
    [
        "threshold = " + "[" * 5000,
        "[[threshold]]\nabsolute = 1e200",
        f"[[threshold]]\nrelative = {10**400}",
        "[[threshold]]\nrelative = inf",
        "[[threshold]]\nabsolute = 2026-01-01",
        f"[[threshold]]\nabsolute = 1\nmetric = '{'[a' * 500}'",
        "[[threshold]]\nabsolute = 1\nmetric = ['psnr']",
        "[threshold]\nabsolute = 1",
    ],
)
def test_thresholds(tmp_path, text):
    path = tmp_path / "limits.toml"
    path.write_text(text)
    with pytest.raises(InputError, match=r"limits\.toml") as caught:
        thresholds.read(path)
    assert str(caught.value).isprintable() and len(str(caught.value)) < 500


@pytest.mark.parametrize(
    "name, text",
    [
        ("rho", "1e999"),
        ("rho", ".nan"),
        ("rho", "nan"),
        ("rho", "٣"),
        ("rho", "9" * 5000),
        ("updates", "9" * 5000),
        ("network.unet.dropout", "[" * 5000),
        ("network.unet.dropout", ".inf"),
        ("network", "{}"),
        ("network.nope.x", "1"),
        ("shape", "[1, 2]"),
        ("shape", "[0, 28, 28]"),
        ("dataset", "a\0b"),
        ("\x1b[2J", "1"),
        ("name." * 3000, "1"),
        ("rho", "&a [*a]"),
        ("rho", "!!python/object/apply:os.system ['true']"),
    ],
)
def test_recipes(name, text):
    with pytest.raises(InputError) as caught:
        RECIPES["fashion-unet"].changed({name: text})
    assert str(caught.value).isprintable() and len(str(caught.value)) < 900


def test_a_row_of_a_probe_says_where_it_was_measured():
    row = probe_record.ProbeValue("loss_rise", 1.0, where={"radius": 0.1, "direction": "global"})
    part = probe_record.ProbePart("c", "f", "sam", 0, "", "flatness", 1, "a", "ok", rows=(row,))
    text = probe_record.part_to_json(part)
    assert probe_record.part_from_json(text) == part
    for old, new in (
        ('"radius": 0.1', '"x": 1'),
        ('"radius": 0.1', '"radius": "far"'),
        ('"radius": 0.1', '"radius": NaN'),
        ('"status": "ok"', '"status": "fine"'),
        ('"value": 1.0', '"value": "one"'),
        ('"seed": 0', '"seed": false'),
    ):
        with pytest.raises(ValueError):
            probe_record.part_from_json(text.replace(old, new))


def test_every_format_renders_a_run_without_measurements(tmp_path):
    """As one of `--metrics psnr` in full precision."""
    run = run_from_json(changed("records", 0, "measurements", to=[]))
    for render in report.FORMATS.values():
        assert isinstance(render(run, tmp_path), str)
    assert border.build(type(CELL), json.loads(to_json(CELL))) == CELL
