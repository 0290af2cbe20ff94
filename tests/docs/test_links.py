"""Links of the documents lead to files that are there, and to headings that these have."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
DOCUMENTS = [
    *sorted(ROOT.glob("*.md")),
    *sorted((ROOT / "docs").rglob("*.md")),
    ROOT / "bench/zoo/README.md",
    *sorted((ROOT / "reports").glob("*/report.md")),
]
LINK = re.compile(r"\]\(([^)\s]+)\)")


def dead(path, text):
    """The links of a document that lead nowhere."""
    for target in LINK.findall(re.sub(r"```.*?```|`[^`\n]*`", "", text, flags=re.DOTALL)):
        if re.match(r"[a-z]+:", target):
            continue
        name, _, anchor = target.partition("#")
        there = (path.parent / name) if name else path
        if not there.exists():
            yield target
        elif anchor and there.suffix == ".md":
            content = re.sub(r"```.*?```", "", there.read_text("utf-8"), flags=re.DOTALL)
            if anchor not in {slug(line) for line in re.findall(r"(?m)^#+ (.*)$", content)}:
                yield target


def slug(heading):
    """The anchor of a heading, as GitHub and mkdocs make it."""
    plain = re.sub(r"[^\w\s-]", "", heading.replace("`", "").lower()).strip()
    return re.sub(r"\s", "-", plain)


@pytest.mark.parametrize("path", DOCUMENTS, ids=lambda path: str(path.relative_to(ROOT)))
def test_links(path):
    assert list(dead(path, path.read_text(encoding="utf-8"))) == []


def test_dead_links_are_found(tmp_path):
    path = tmp_path / "a.md"
    path.write_text("# Two words\n[a](b.md) [b](#two-words) [c](a.md#three) [d](https://x.y)\n")
    assert list(dead(path, path.read_text())) == ["b.md", "a.md#three"]
