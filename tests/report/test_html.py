"""The HTML report: its text here, its behaviour in headless Chromium where that is installed."""

from __future__ import annotations

import html
import json
import re
from dataclasses import replace
from html.parser import HTMLParser
from pathlib import Path

import numpy as np
import pytest
from helpers import canned_run
from helpers.browser import AXE, DESK, PHONE, browser, chromium, phone, said
from PIL import Image

from bench import report
from bench.report import first_screen
from bench.report.html import page
from bench.report.rows import rows
from bench.report.verdict import verdicts
from bench.system import influences
from bench.system.runs import read_run


@pytest.fixture
def text(run, folder):
    report.render(run, folder)
    return (folder / "report.html").read_text(encoding="utf-8")


def test_nothing_is_loaded_from_elsewhere(text):
    class Links(HTMLParser):
        def handle_starttag(self, tag, attributes):
            for name, value in attributes:
                if name in ("src", "href", "data", "srcset"):
                    found.append(value)

    found = []
    Links().feed(text)
    assert len(found) >= 3
    assert all(value.startswith(("data:image/png;base64,", "#")) for value in found)
    assert "@import" not in text
    assert "url(" not in text


def test_the_answer_comes_first_and_the_details_are_folded(text):
    first = text.index("<h1>w8a8 and w4a8: all 4 checkpoints not decided</h1>")
    folded = re.findall(r'<details id="([a-z0-9-]+)"><summary><h3>', text)
    assert first < text.index("<details")
    assert folded[0] == "every-quantized-cell"
    assert {"figures", "results", "protocol", "host-and-versions"} <= set(folded)
    # The link to what was not measured has somewhere to go.
    assert 'href="#refused-and-failed"' in text
    assert "refused-and-failed" in folded
    # Marks never stand without their words.
    assert (
        len(re.findall(r'aria-hidden="true">[▲◆●▼○]</span> (\d+ )?(not |harmed|improved)', text))
        > 5
    )


def test_the_table_to_read_has_six_columns(text):
    table = text[text.index('<table id="cells"') :]
    assert re.findall(r"<th scope=\"col\"[^>]*>(.*?)</th>", table[: table.index("</thead>")]) == [
        *["Checkpoint", "Scheme", "Verdict", "Change of KD", "Change of FD", "PSNR, dB"]
    ]
    assert table[: table.index("</table>")].count("<tr>") == 1 + 8


def test_content_of_unknown_origin_stays_text(run, tmp_path):
    evil = "</script><script>alert(1)</script>"
    cards = [
        replace(r, cell=replace(r.cell, checkpoint=replace(r.cell.checkpoint, name=evil)))
        for r in run.records
    ]
    run = replace(run, id=f"<img src=x>{evil}", records=tuple(cards))
    canned_run.write_samples(run, tmp_path)
    text = page(run, tmp_path)
    assert "<script>alert" not in text
    assert "<img src=x>" not in text


def test_without_samples_there_are_no_pairs(run, tmp_path):
    text = page(run, tmp_path)
    assert 'id="choice"' not in text
    assert 'id="cells"' in text


def pictures(text):
    return json.loads(re.search(r'id="pictures" type="application/json">(.*?)</script>', text)[1])


def test_the_worst_and_the_median_pairs_are_picked_by_psnr(run, folder):
    record = next(r for r in run.records if str(r.cell.scheme) == "w4a8")
    values = 10.0 + np.arange(canned_run.N) % 16
    measured = record.measurement("psnr")
    terms = {influences.key(record.cell, measured.name): values - measured.value}
    influences.save(folder / influences.NAME, terms)
    shown = pictures(page(run, folder))
    captions = next(p["captions"] for p in shown["pairs"] if "PSNR" in p["captions"][0])
    assert captions[:3] == [
        f"worst of the 16 kept: image {k}, PSNR {10 + k:.1f} dB" for k in range(3)
    ]
    assert captions[3:] == [
        f"median of the 16 kept: image {k}, PSNR {10 + k:.1f} dB" for k in (6, 7, 8)
    ]
    assert len(shown["pairs"]) == 8


@browser
def test_tables_sort_and_rows_filter(text, tmp_path):
    script = """
    const table = document.getElementById("cells");
    const heads = [...table.querySelectorAll("th[scope=col]")];
    const column = heads.findIndex((head) => head.textContent === "PSNR, dB");
    const values = () => [...table.tBodies[0].rows].map((r) => r.cells[column].textContent);
    const button = heads[column].querySelector("button");
    table.closest("details").open = true;
    button.focus();
    const focused = document.activeElement === button;
    button.click();
    const up = values();
    button.click();
    const box = document.getElementById("filter");
    box.value = "W4A8 sam";
    box.dispatchEvent(new Event("input"));
    const left = [...table.tBodies[0].rows].filter((row) => !row.hidden);
    document.body.dataset.said = [focused, heads[column].getAttribute("aria-sort"),
      up[0].split(" ")[0], values()[0].split(" ")[0], left.length,
      left[0].cells[0].textContent, document.getElementById("count").value].join("|");
    """
    expected = "true|descending|19.40|35.60|1|sam|1 of 8 rows"
    assert said(chromium(text, tmp_path, script)) == expected


@browser
def test_pairs_flip_by_hover_tap_and_key_and_all_at_once(text, tmp_path):
    script = """
    const first = () => document.querySelector(".flip");
    const now = () => first().querySelector(".badge").textContent +
      first().querySelector("img").style.top;
    const told = [now()];
    const hover = (kind, type) =>
      first().dispatchEvent(new PointerEvent(kind, {pointerType: type}));
    hover("pointerenter", "mouse"); told.push(now());
    hover("pointerleave", "mouse"); told.push(now());
    hover("pointerenter", "touch"); told.push(now());
    first().click(); told.push(now() + first().getAttribute("aria-pressed"));
    hover("pointerleave", "touch"); told.push(now());
    document.getElementById("all").click(); told.push(now());
    const cells = document.getElementById("choice");
    const before = first().querySelector("img").src;
    cells.selectedIndex = (cells.selectedIndex + 1) % cells.options.length;
    cells.dispatchEvent(new Event("change"));
    told.push(now(), first().querySelector("img").src !== before, first().tabIndex,
      cells.options.length, document.querySelectorAll(".flip").length);
    document.body.dataset.said = told.join("|");
    """
    small, full = "quantized-100%", "full precision0px"
    expected = [small, full, small, small, full + "true", full, full, full, "true", "0", "8", "6"]
    assert said(chromium(text, tmp_path, script)) == "|".join(expected)


@browser
def test_a_phone_needs_no_sideways_scrolling_and_has_the_answer_on_its_screen(text, tmp_path):
    script = """
    const last = [...document.querySelectorAll(".card")].at(-1).getBoundingClientRect();
    const fits = document.documentElement.scrollWidth <= innerWidth;
    parent.postMessage([innerWidth, fits, last.bottom <= innerHeight].join("|"), "*");
    """
    assert phone(text, tmp_path, script) == "390|true|true"


@browser
def test_dark_mode_is_dark(text, tmp_path):
    light, dark = tmp_path / "light.png", tmp_path / "dark.png"
    chromium(text, tmp_path, picture=light)
    # What the browser does where the system asks for dark.
    forced = text.replace("(prefers-color-scheme: dark)", "all")
    chromium(forced, tmp_path, picture=dark)
    corners = [Image.open(path).convert("L").getpixel((2, 2)) for path in (light, dark)]
    assert corners[0] > 240 > 60 > corners[1]


NINETEEN = Path(__file__).parents[2] / "reports" / "20261125T175034Z-43bb7366"


@pytest.mark.slow
@browser
def test_nineteen_checkpoints_fit_the_first_screen_and_three_megabytes(tmp_path):
    text = page(read_run(NINETEEN), NINETEEN)
    assert len(text.encode()) < 3e6
    script = """
    const last = [...document.querySelectorAll(".card")].at(-1).getBoundingClientRect();
    parent.postMessage([last.bottom <= innerHeight,
      document.documentElement.scrollWidth <= innerWidth].join("|"), "*");
    """
    for size in (PHONE, DESK):
        assert phone(text, tmp_path, script, size) == "true|true"


@pytest.mark.slow
@browser
@pytest.mark.skipif(not AXE, reason="needs axe-core-python")
@pytest.mark.parametrize("colours", ["light", "dark"])
def test_an_accessibility_checker_finds_nothing(text, tmp_path, colours):
    text = text if colours == "light" else text.replace("(prefers-color-scheme: dark)", "all")
    checker = (Path(AXE.origin).parent / "axe.min.js").read_text(encoding="utf-8")
    script = """
    document.querySelectorAll("details").forEach((part) => { part.open = true; });
    axe.run().then((found) => {
      document.body.dataset.said = JSON.stringify(found.violations.map((v) =>
        [v.id, v.nodes.slice(0, 3).map((node) => node.html.slice(0, 150))]));
      document.body.dataset.passed = found.passes.length;
    });
    """
    # A script element would end at the first "</script" of the checker's own text.
    dom = chromium(text, tmp_path, checker.replace("</script", "<\\/script") + script)
    assert json.loads(html.unescape(said(dom))) == []
    assert int(re.search(r'data-passed="(\d+)"', dom)[1]) > 20


def test_a_long_scheme_is_parted_between_its_methods(run):
    verdict = replace(verdicts(rows(run), {})[0], name="w8a8+tgroups=8+adaround")
    shown = first_screen.first_screen(run, rows(run), [verdict])
    assert "<h2>w8a8+<wbr>tgroups=8+<wbr>adaround</h2>" in shown
