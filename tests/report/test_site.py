"""The leaderboard as files: all is on the page, nothing is loaded, nobody's text is code."""

import json
import re
from dataclasses import replace
from html import unescape
from html.parser import HTMLParser
from pathlib import Path

import pytest
from helpers import canned_run
from helpers.browser import AXE, DESK, PHONE, browser, chromium, phone, said

from bench.report import site


@pytest.fixture
def page(tmp_path):
    run = canned_run.run("w8a8", "w4a8")
    path = site.write([(tmp_path / "none", run)], tmp_path / "public")
    return path.read_text(encoding="utf-8")


def test_each_cell_is_a_row_with_its_interval_and_its_report(page, tmp_path):
    rows = re.findall(r"<tr>(<th scope=\"row\">fmnist.*?)</tr>", page)
    assert len(rows) == 10
    (line,) = [row for row in rows if "fmnist-sam" in row and ">w8a8<" in row]
    cells = [unescape(re.sub(r"<.*?>", "", cell)) for cell in re.split(r"</t[hd]>", line)]
    assert cells[1:3] == ["w8a8", "simulated, 98.0%"]
    assert cells[5] == "-0.45 [-0.65, -0.25]" and cells[6] == "35.60 [35.25, 35.95]"
    assert cells[7] == "A"
    links = set(re.findall(r'href="(.*?)"', page))
    assert links == {"runs/20250102T030405Z-0123abcd.html"}
    assert (tmp_path / "public" / links.pop()).is_file()
    assert (tmp_path / "public" / ".nojekyll").read_text() == ""


def test_nothing_is_loaded(page):
    class Tags(HTMLParser):
        def handle_starttag(self, tag, attributes):
            assert tag not in ("link", "img", "iframe")
            assert not {"src", "srcset", "data"} & dict(attributes).keys()

    Tags().feed(page)
    assert not re.search(r"url\(|@import|https?://", page)


def test_text_of_others_is_no_code_and_no_path(tmp_path):
    run = canned_run.run("w4a8")
    bad = "<script>alert(1)</script>"
    records = []
    for r in run.records:
        card = replace(r.cell.checkpoint, name=bad, dataset=f"folder:{bad}")
        records.append(replace(r, cell=replace(r.cell, checkpoint=card)))
    run = replace(run, id=f"../../{bad}", records=tuple(records))
    path = site.write([(tmp_path / "none", run)], tmp_path / "a" / "public")
    assert bad not in path.read_text(encoding="utf-8")
    (report,) = (tmp_path / "a" / "public" / "runs").iterdir()
    assert re.fullmatch(r"[A-Za-z0-9_+-]+\.html", report.name)
    assert [there.name for there in tmp_path.iterdir()] == ["a"]


def test_a_page_without_measured_cells(tmp_path):
    run = canned_run.run("w4a8")
    bad = replace(run, records=tuple(r for r in run.records if r.status != "ok"))
    path = site.write([(tmp_path / "none", bad)], tmp_path / "public")
    assert "2 quantized cells of 1 runs" in path.read_text(encoding="utf-8")
    assert "0 quantized cells of 0 runs" in site.page([])


@pytest.mark.slow
@browser
def test_it_fits_a_phone_and_sorts(page, tmp_path):
    script = """
    parent.postMessage(document.documentElement.scrollWidth <= innerWidth, "*");
    """
    assert phone(page, tmp_path, script, PHONE) == "true"
    script = """
    const head = document.querySelectorAll("#cells thead th")[5];
    head.querySelector("button").click();
    document.body.dataset.said = document.querySelector("#cells tbody tr").textContent;
    """
    assert "fmnist-sam" in said(chromium(page, tmp_path, script, DESK))


@pytest.mark.slow
@browser
@pytest.mark.skipif(not AXE, reason="needs axe-core-python")
@pytest.mark.parametrize("colours", ["light", "dark"])
def test_an_accessibility_checker_finds_nothing(page, tmp_path, colours):
    page = page if colours == "light" else page.replace("(prefers-color-scheme: dark)", "all")
    checker = (Path(AXE.origin).parent / "axe.min.js").read_text(encoding="utf-8")
    script = """
    axe.run().then((found) => {
      document.body.dataset.said = JSON.stringify(found.violations.map((v) =>
        [v.id, v.nodes.slice(0, 3).map((node) => node.html.slice(0, 150))]));
    });
    """
    dom = chromium(page, tmp_path, checker.replace("</script", "<\\/script") + script)
    assert json.loads(unescape(said(dom))) == []
