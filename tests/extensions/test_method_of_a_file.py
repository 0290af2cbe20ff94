"""A method of a file, as docs/methods.md shows it: from the page to the report, and what may be
wrong with one."""

import os
import re
import shlex
import subprocess
import sys
from pathlib import Path

import pytest

from bench.core.cell import Cell, Draw
from bench.core.record import run_from_json
from bench.core.scheme import Scheme
from bench.evaluation import keys
from bench.evaluation.pipeline import Pipeline
from bench.evaluation.resolved import Resolver
from bench.models.cards import load_cards
from bench.quant.methods import from_file
from bench.system.host import fingerprint
from bench.system.store import cache_root

PAGE = (Path(__file__).parents[2] / "docs" / "methods.md").read_text(encoding="utf-8")
SECTION = PAGE.partition("## A method of your own")[2]
METHOD = re.search(r"```python\n(.*?)```", SECTION, re.DOTALL)[1]
COMMAND = re.search(r"^    bench (run .*)$", SECTION, re.MULTILINE)[1]
SIZES = ("--images", "4", "--batch", "4", "--steps", "1", "--metrics", "psnr")
# Functions that do what they must not; tests/quant/methods/test_from_file.py has more.
BAD = """
def leaving(graph, denoiser, calibration):
    raise SystemExit(3)

def harming(graph, denoiser, calibration):
    denoiser.model.unet.conv_in.weight.data.add_(1)
    denoiser.model.train()
    return graph
"""


@pytest.fixture
def files(tmp_path, monkeypatch):
    """The working folder of a user."""
    monkeypatch.chdir(tmp_path)
    return tmp_path


@pytest.fixture
def words(cards, files):
    return ("run", "--cards", cards, *SIZES, "--out", "out", "--backend", "simulated")


def run_of(folder):
    (path,) = folder.glob("out/*/run.json")
    return path.parent, run_from_json(path.read_text(encoding="utf-8"))


def psnr(record):
    return record.measurement("psnr").value


def test_the_page_builds_one_in_thirty_lines_and_runs_it(bench, cards, files):
    assert len(METHOD.splitlines()) <= 30
    (files / "clipped.py").write_text(METHOD)
    code, _, error = bench(
        *shlex.split(COMMAND), "--cards", cards, *SIZES, "--out", "out", "--backend", "simulated"
    )
    assert code == 0, error
    folder, run = run_of(files)
    _, plain, mine = run.records
    assert [str(r.cell.scheme) for r in (plain, mine)] == [
        "w4a8",
        "w4a8+python=clipped.py:clipped",
    ]
    assert psnr(plain) != psnr(mine)
    report = (folder / "report.md").read_text(encoding="utf-8")
    digest = from_file.sha256("clipped.py:clipped")
    assert f"python=clipped.py:clipped SHA-256 {digest[:8]} " in report
    assert mine.host.versions["methods python sha256"] == digest
    # A run is read where the file is not, and nothing of it is executed.
    (files / "clipped.py").write_text("raise SystemExit('executed')")
    for verb in (
        ("report", folder, "--out", "out"),
        ("compare", folder, folder),
        ("list", "methods"),
    ):
        assert bench(*verb)[0] in (0, 3), verb
        (files / "clipped.py").unlink(missing_ok=True)
    assert (folder / "report.md").read_text(encoding="utf-8") == report


@pytest.mark.slow
def test_what_one_must_not_do_fails_its_own_row(bench, words, files):
    (files / "bad.py").write_text(BAD)
    says = {
        "leaving": r"RuntimeError: method python:bad.py:leaving fails \(SystemExit: 3, line 3\)",
        "harming": (
            "method python:bad.py:harming changes the network in full precision, "
            "unet.conv_in.weight and 1 more"
        ),
    }
    methods = [word for name in says for word in ("--method", f"python:bad.py:{name}")]
    code, _, error = bench(*words, "--scheme", "w4a8+rtn", *methods, "--method", "mse")
    assert code == 4, error
    _, run = run_of(files)
    _, plain, *failed, last = run.records
    assert [(str(r.cell.scheme), r.status) for r in (plain, last)] == [
        ("w4a8", "ok"),
        ("w4a8+mse", "ok"),
    ]
    for record, (name, reason) in zip(failed, says.items(), strict=True):
        assert str(record.cell.scheme) == f"w4a8+python=bad.py:{name}"
        assert record.status == "failed" and re.search(reason, record.error), record.error
        assert "\n" not in record.error


@pytest.mark.parametrize(
    ("method", "text", "says"),
    [
        ("python:none.py:f", "", "none.py: cannot be read as a file of Python (No such file"),
        (
            "python:a.py:clip",
            "def clipp(g, d, c): ...",
            "no clip in the file (did you mean 'clipp'",
        ),
        ("python:a.py", "", "python:a.py: no function of a file: write python:FILE.py:FUNCTION"),
        ("python:a.txt:f", "", "python:a.txt:f: no function of a file"),
        ("python:a.py:f", "def f(:", "cannot be executed (SyntaxError: invalid syntax, line 1)"),
        ("python:a.py:f", "x = 1\n1 / 0", "(ZeroDivisionError: division by zero, line 2)"),
        ("python:a.py:f", "import nowhere", "ModuleNotFoundError: No module named 'nowhere'"),
        ("python:a.py:f", "raise SystemExit(0)", "cannot be executed (SystemExit: 0, line 1)"),
        ("python:a.py:f", "f = 3", "f is a int, not a function"),
        ("python:a.py:f", "def f(graph): ...", "must take (graph, denoiser, calibration)"),
        ("python:a.py:f:3", "def f(g, d, c): ...", "a function takes no argument"),
        (
            "python:a.py:F:3",
            "class F:\n def __call__(s, g, d, c): ...",
            "has no parameter argument",
        ),
        ("python:a.py:F", "class F: ...", "F has neither __call__ nor prepare"),
        ("python:a b.py:f", "", "python needs a path of letters, digits and . _ - / ~ @"),
        ("python:~nobody-here/a.py:f", "", "there is no such user's home"),
        ("gptq+rtn", "", "rtn is plain rounding and contradicts gptq: name one of them"),
        ("bais", "", "'bais' is unknown (did you mean 'bias'?)"),
        ("all", "", "'all' is a word of a scheme and no method"),
    ],
)
def test_bad_input_is_one_line_and_nothing_is_written(bench, words, files, method, text, says):
    if text:
        (files / "a.py").write_text(text)
    code, out, error = bench(*words, "--scheme", "w4a8", "--method", method)
    assert (code, out) == (2, "")
    assert says in error.splitlines()[-1], error
    assert not (files / "out").exists()


CLASS = """
from bench.core.errors import InputError

class Sized:
    def __init__(self, argument="1"):
        if argument == "x":
            raise InputError("sized=x is no number")
        self.size = int(argument)

    def refuses(self, scheme):
        if self.size == 5:
            return "size 5 has nothing to do"
        return 7 if self.size == 7 else None

    def check(self, denoiser):
        if self.size == 8:
            raise InputError("size 8 does not fit this network")

    def prepare(self, graph, denoiser, calibration):
        return graph
"""


def test_a_class_may_take_an_argument_and_refuse(bench, words, files):
    (files / "a.py").write_text(CLASS)

    def last(argument, *more):
        words_of_it = ("--scheme", "w4a8", "--method", f"python:a.py:Sized:{argument}")
        code, _, error = bench(*words, *words_of_it, *more)
        return code, error.splitlines()[-1]

    assert last("x") == (2, "bench: method python:a.py:Sized:x: sized=x is no number")
    code, line = last("many")
    assert code == 2 and "__init__ fails (ValueError: invalid literal" in line
    assert last("7")[1].endswith("refuses gives a int, not a text")
    assert last("8") == (
        2,
        "bench: method python:a.py:Sized:8: size 8 does not fit this network",
    )
    code, out, _ = bench(
        *words, "--scheme", "w4a8", "--method", "python:a.py:Sized:5", "--dry-run"
    )
    assert code == 0
    assert "refused: method python:a.py:Sized:5: size 5 has nothing to do" in out
    found = from_file.FromFile("a.py:Sized:2")
    assert found.given.size == 2 and found.prepare(1, 2, 3) == 1 and found(1, 2, 3) == 1


def keys_of(cards, text):
    from_file.forget()
    cell = Cell(load_cards(cards)[0], Scheme.parse(text), "simulated", Draw())
    host = fingerprint()
    return (
        keys.of_images(cell, host),
        keys.of_calibration(cell, host),
        keys.of_record(cell, host, {}),
    )


def test_the_content_of_the_file_is_in_the_keys_and_its_path_is_not(cards, files):
    (files / "a.py").write_text(METHOD)
    (files / "deep").mkdir()
    (files / "deep" / "b.py").write_text(METHOD)
    mine = keys_of(cards, "w4a8+python=a.py:clipped")
    assert keys_of(cards, "w4a8+python=deep/b.py:clipped") == mine
    others = [keys_of(cards, "w4a8"), keys_of(cards, "w4a8+python=a.py:torch")]
    (files / "a.py").write_text(METHOD + "\n")
    others.append(keys_of(cards, "w4a8+python=a.py:clipped"))
    for kind in range(3):
        assert len({mine[kind], *(other[kind] for other in others)}) == 4


def test_two_files_of_one_probe_are_both_in_its_key(files):
    for name in "ab":
        (files / f"{name}.py").write_text(f"{METHOD}# {name}\n")
    from_file.forget()
    entries = [("methods", f"python:{name}.py:clipped") for name in "ab"]
    (digests,) = keys.identities(entries).values()
    assert digests == f"{from_file.sha256('a.py:f')}, {from_file.sha256('b.py:f')}"
    assert keys.identities(entries[:1] * 2) == keys.identities(entries[:1])


def test_a_file_that_changes_during_a_run_fails_the_cell(cards, files):
    """Its keys are those of what it was, in another process too."""
    (files / "a.py").write_text(METHOD)
    from_file.forget()
    cell = Cell(
        load_cards(cards)[0],
        Scheme.parse("w4a8+python=a.py:clipped"),
        "simulated",
        Draw(images=2, batch=2, steps=1),
        metrics=("psnr",),
    )
    resolved = Resolver(fingerprint(), cache_root()).resolve(cell)
    before = from_file.sha256("a.py:clipped")
    (files / "a.py").write_text(METHOD + "\n")
    assert from_file.sha256("a.py:clipped") == before
    # As an engine's other process reads it.
    from_file.forget()
    pipeline = Pipeline(fingerprint(), cache_root())
    steps = pipeline.run(resolved)
    with pytest.raises(StopIteration) as ended:
        while True:
            next(steps)
    record = ended.value.value
    assert record.status == "failed" and "when the command began: repeat it" in record.error


def test_a_run_with_one_is_read_without_torch_and_without_the_file(tmp_path):
    """What only reads a run imports no torch, and its scheme is what it was."""
    scheme = Scheme(4, 8, methods=("python:/somewhere/else/m-1.py:f:9", "bias"))
    text = "w4a8+python=/somewhere/else/m-1.py:f:9+bias"
    assert str(scheme) == text and Scheme.parse(text) == scheme
    code = (
        "import sys; from bench.core.scheme import Scheme; import bench.report;"
        f"assert str(Scheme.parse({text!r})) == {text!r}; assert 'torch' not in sys.modules"
    )
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)}
    subprocess.run([sys.executable, "-c", code], check=True, env=environment, cwd=tmp_path)
