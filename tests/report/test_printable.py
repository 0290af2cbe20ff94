"""What other people's files call things reaches no report and no terminal raw."""

import csv
import io
import json
import unicodedata
from dataclasses import replace
from xml.etree import ElementTree

import pytest
from helpers import canned_run
from helpers.tiny import write_card, write_cards
from hypothesis import given
from hypothesis import strategies as st
from markdown_it import MarkdownIt

from bench import report
from bench.core import printable
from bench.core.record import to_json
from bench.report import comparison
from bench.system import store
from bench.system.runs import LoadedRun
from bench.verdicts.comparison import compare
from bench.verdicts.thresholds import load

ESCAPE, C1, BIDI, SPLIT = "\x1b[2J\x1b]0;x\x07", "\x9b31m", "‮evil", "a\u2028b\rc\nd"
ODD = (ESCAPE, C1, BIDI, SPLIT, "\x00", "\x7f", "\ufeff", "﷐", "￿", "\ue000")


def raw(text):
    """What of a text must not be printed."""
    return [c for c in text if c not in "\n\t" and unicodedata.category(c) in printable.UNSAFE]


@given(st.text(), st.sampled_from(ODD))
def test_no_text_stays_raw(text, odd):
    for made in (printable.plain, printable.markdown, printable.cell, printable.short):
        found = made(text + odd + text)
        assert not raw(found) and "\n" not in found and found.isprintable()
    assert not raw(printable.lines(text + odd))


def test_what_is_harmless_stays_as_it_is():
    for text in ("fd_efficientnet@500", "Fréchet ±0.5 → 1", "漢字 😀", "w4a8+skip=a.b", "a -1"):
        assert printable.plain(text) == printable.markdown(text) == printable.cell(text) == text
    assert printable.plain(" a \n  b ") == "a b"
    assert printable.plain("\x1b[0m\x9b") == r"\x1b[0m\x9b"
    assert printable.lines("a\n\tb\x1b") == "a\n\tb\\x1b"
    assert len(printable.short("x" * 10**6)) == 80


@given(st.text(st.sampled_from("ab _*`[](){}<>|\\~&;#$-+1.!=@:/\"'\x1b"), max_size=20))
def test_a_name_in_markdown_is_read_as_itself(text):
    """By CommonMark with tables and strikethrough, in a cell of a table and in a list."""
    reader = MarkdownIt("commonmark", {"html": False}).enable(["table", "strikethrough"])
    wanted = printable.plain(text)
    cell = reader.render(f"| h |\n| --- |\n| x {printable.markdown(text)} |")
    item = reader.render(f"- {printable.markdown(text)}")
    for page, alone in ((cell, False), (item, True)):
        found = "".join(
            token.content
            for block in reader.parse(
                f"- {printable.markdown(text)}" if alone else f"x {printable.markdown(text)}"
            )
            for token in block.children or ()
        )
        assert found.removeprefix("" if alone else "x").strip() == wanted
        assert "<em>" not in page and "<strong>" not in page and "<a " not in page
        assert "<h1>" not in page and "<code>" not in page and "<s>" not in page


FORMULAS = ("=1+1", "+cmd|' /C calc'!A0", "-2+3", "@SUM(A1)", '=HYPERLINK("x")', "-", "+")


@pytest.mark.parametrize("text", FORMULAS)
def test_a_formula_is_text(text):
    assert printable.cell(text) == f"'{text}"
    assert printable.cell(f"\t{text}") == printable.cell(f"\r{text}") == f"'{text}"


@pytest.mark.parametrize("text", ["-1", "+2.5e-3", "-12%", "-.5"])
def test_a_signed_number_is_one(text):
    assert printable.cell(text) == text


@pytest.fixture(params=[*ODD, *FORMULAS, "$\\frac{", "a$b$", "_x_", "<script>|`[a](b)"])
def odd_run(request):
    """The canned run with odd text wherever a run holds some."""
    text, base = f"{request.param}", canned_run.run("w4a8")

    def odd(each):
        card = each.cell.checkpoint
        named = f"{text}{card.method}"
        card = replace(card, name=named, family=text, method=named, license=text)
        cell = replace(each.cell, checkpoint=card)
        host = replace(each.host, name=text, versions={text: text})
        coverage = each.coverage and replace(
            each.coverage,
            kernel="none" if each.cell.scheme.is_float else text,
            macs_by_kernel={text: 5},
            skipped=((text, text),),
        )
        numbers = [replace(m, unit=text) for m in each.measurements]
        numbers += [replace(m, name=f"{text}@5") for m in each.measurements[:1]]
        changes = {"cell": cell, "host": host, "coverage": coverage, "error": text}
        return replace(each, **changes, measurements=tuple(numbers), calibration=text)

    records = tuple(map(odd, base.records))
    return replace(base, created=text, commit=text, command=text, records=records)


def cells_of(text):
    return [cell for line in csv.reader(io.StringIO(text)) for cell in line]


def check(name, text):
    assert not raw(text), name
    assert "<script>|" not in text or name != "markdown", name
    if name == "csv":
        for cell in cells_of(text):
            assert not cell.startswith(("=", "@", "\t")), cell
            if cell.startswith(("+", "-")):
                float(cell)
    elif name == "junit":
        ElementTree.fromstring(text)
    elif "json" in name or name.startswith(("bencher", "github")):
        json.loads(text)


def test_no_format_of_a_report_holds_it_raw(odd_run, tmp_path):
    for name, render in report.FORMATS.items():
        if name == "json":
            # For programs: JSON itself escapes what it must.
            json.loads(render(odd_run, tmp_path))
        elif name == "html":
            page = render(odd_run, tmp_path)
            assert "<script>|" not in page and not raw(page)
        else:
            check(name, render(odd_run, tmp_path))


def test_no_format_of_a_comparison_holds_it_raw(odd_run):
    base = LoadedRun("\x1b[2J", odd_run, {})
    worse = canned_run.with_measurements(
        odd_run, lambda m: replace(m, value=m.value * 3, low=None, high=None)
    )
    compared = compare(base, LoadedRun("=1+1", replace(worse, commit="x"), {}), load())
    for name, render in comparison.FORMATS.items():
        text = render(compared, (), compared.code())
        if name != "json":
            check(name, text)
        else:
            json.loads(text)


@pytest.mark.parametrize("name", ["$\\frac{", "a$b$", "_x_", "\x1b[2J", "é" * 300, "漢"])
def test_figures_take_any_name(name, tmp_path):
    base = canned_run.run("w4a8")
    records = []
    for each in base.records:
        card = each.cell.checkpoint
        card = replace(card, name=f"{name}{card.name}", method=f"{name}{card.method}")
        records.append(replace(each, cell=replace(each.cell, checkpoint=card)))
    drawn = report.draw(replace(base, records=tuple(records)), tmp_path)
    assert {path.name for path in drawn} == {"loss_by_bits.png", "loss_by_method.png"}


def test_the_terminal_sees_no_escapes(bench, tmp_path):
    """Of names of cards, runs, metrics, and of words of the command line."""
    (tmp_path / "reports" / "\x1b[2J").mkdir(parents=True)
    run = canned_run.run()
    (tmp_path / "reports" / "\x1b[2J" / "run.json").write_text(to_json(run))
    out = ("--out", tmp_path / "reports")
    cards = write_cards(tmp_path, [write_card(tmp_path)])
    for words in (
        ("list", "--cards", cards, *out),
        ("report", "\x1b[2J\x9b", *out),
        ("report", "--format", "\x1b[2J", *out),
        ("compare", "\x1b[2J", "\x1b[2J", *out),
        ("compare", "\x1b[2J", "\x1b[2J", "--fail-on", "\x1b]0;", *out),
        ("compare", "\x1b[2J", "\x1b[2J", "--allow", "\x1b]0;", *out),
        ("history", "--metric", "\x1b[2J", *out),
        ("run", "--scheme", "\x1b[2J"),
        ("run", "--suite", "\x1b[2J"),
        ("run", "--metrics", "\x1b[2J"),
        ("list", "--cards", "\x1b[2J"),
        ("\x1b[2J",),
    ):
        _, stdout, stderr = bench(*words)
        assert not raw(stdout + stderr), words


def test_the_index_links_folders_of_any_name(tmp_path):
    folder = tmp_path / "a b)(c\x1b"
    folder.mkdir()
    (folder / "run.json").write_text(to_json(canned_run.run()))
    store.save_text(folder / "report.md", "x")
    text = report.write_index(tmp_path).read_text(encoding="utf-8")
    assert "(a%20b%29%28c%1B/report.md)" in text
    assert not raw(text)
