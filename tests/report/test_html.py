"""The HTML report: its text here, its behaviour in headless Chromium where that is installed."""

from __future__ import annotations

import re
import shutil
import subprocess
from dataclasses import replace
from html.parser import HTMLParser

import pytest
from helpers import canned_run
from PIL import Image

from bench import report
from bench.report.html import page

BROWSERS = ("chromium", "chromium-browser", "google-chrome")
CHROMIUM = next(filter(None, map(shutil.which, BROWSERS)), None)
browser = pytest.mark.skipif(not CHROMIUM, reason="needs chromium (apt-get install chromium)")
PHONE = (390, 844)


@pytest.fixture
def text(run, folder):
    report.render(run, folder)
    return (folder / "report.html").read_text(encoding="utf-8")


def chromium(text, folder, script="", size=PHONE, picture=None):
    """The DOM that a page has after its own scripts and `script` ran in the browser."""
    path = folder / "tested.html"
    path.write_text(text.replace("</body>", f"<script>{script}</script></body>"))
    words = [CHROMIUM, "--headless", "--no-sandbox", "--disable-gpu", "--hide-scrollbars"]
    words += [f"--user-data-dir={folder / 'profile'}", f"--window-size={size[0]},{size[1]}"]
    words += [f"--screenshot={picture}"] if picture else ["--dump-dom"]
    done = subprocess.run([*words, path.as_uri()], capture_output=True, text=True, timeout=120)
    assert done.returncode == 0, done.stderr
    return done.stdout


def said(dom):
    return re.search(r'data-said="([^"]*)"', dom)[1]


def test_nothing_is_loaded_from_elsewhere(text):
    class Links(HTMLParser):
        def handle_starttag(self, tag, attributes):
            for name, value in attributes:
                if name in ("src", "href", "data", "srcset"):
                    found.append(value)

    found = []
    Links().feed(text)
    assert len(found) >= 3
    assert all(value.startswith("data:image/png;base64,") for value in found)
    assert "@import" not in text
    assert "url(" not in text


def test_the_answer_comes_first_and_the_host_last(text):
    headings = re.findall(r"<h2>(.*?)</h2>", text)
    assert headings[0] == "What quantization costs"
    assert headings.index("Results") < headings.index("Figures")
    assert {"Protocol", "Host and versions"} <= set(headings[headings.index("Figures") + 1 :])
    assert text.count("<table>") == text.count('<div class="scroll" tabindex="0">')


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


def test_without_samples_there_is_no_slider(run, tmp_path):
    text = page(run, tmp_path)
    assert 'id="choice"' not in text
    assert "<h2>Results</h2>" in text


@browser
def test_tables_sort_by_number_and_back(text, tmp_path):
    script = """
    const table = document.querySelector("main table");
    const heads = [...table.querySelectorAll("th")];
    const column = heads.findIndex((head) => head.textContent === "PSNR, dB");
    const values = () => [...table.tBodies[0].rows].map((r) => r.cells[column].textContent);
    const button = heads[column].querySelector("button");
    button.focus();
    const focused = document.activeElement === button;
    button.click();
    const up = values();
    button.click();
    document.body.dataset.said = [focused, heads[column].getAttribute("aria-sort"),
      up[0].split(" ")[0], values()[0].split(" ")[0], up.at(-1)].join("|");
    """
    assert said(chromium(text, tmp_path, script)) == "true|descending|19.40|35.60|–"


@browser
def test_the_slider_uncovers_and_the_choice_changes_the_pictures(text, tmp_path):
    script = """
    const [full, quantized] = document.querySelectorAll(".pair img");
    const range = document.getElementById("slider");
    const cells = document.getElementById("choice");
    const before = [full.src, quantized.src];
    range.value = 20;
    range.dispatchEvent(new Event("input"));
    cells.selectedIndex = 1;
    cells.dispatchEvent(new Event("change"));
    document.body.dataset.said = [quantized.style.clipPath, full.src === before[0],
      quantized.src !== before[1], full.src !== quantized.src, cells.options.length,
      range.tabIndex, cells.tabIndex].join("|");
    """
    expected = "inset(0px 0px 0px 20%)|true|true|true|8|0|0"
    assert said(chromium(text, tmp_path, script)) == expected


@browser
def test_a_phone_needs_no_sideways_scrolling(text, tmp_path):
    script = """
    document.body.dataset.said = document.documentElement.scrollWidth <= innerWidth;
    """
    assert said(chromium(text, tmp_path, script)) == "true"


@browser
def test_dark_mode_is_dark(text, tmp_path):
    light, dark = tmp_path / "light.png", tmp_path / "dark.png"
    chromium(text, tmp_path, picture=light)
    # What the browser does where the system asks for dark.
    forced = text.replace("(prefers-color-scheme: dark)", "all")
    chromium(forced, tmp_path, picture=dark)
    corners = [Image.open(path).convert("L").getpixel((2, 2)) for path in (light, dark)]
    assert corners[0] > 240 > 60 > corners[1]
