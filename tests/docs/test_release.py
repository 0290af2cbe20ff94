"""What a release says of itself agrees: version, changelog, citation, forms for issues."""

import re
from pathlib import Path

import yaml

from bench import __version__
from bench.report import FORMATS

ROOT = Path(__file__).parents[2]


def text(name):
    return (ROOT / name).read_text(encoding="utf-8")


def test_the_version_is_the_same_everywhere():
    assert re.search(r'(?m)^version = "(.*)"$', text("pyproject.toml"))[1] == __version__
    assert yaml.safe_load(text("CITATION.cff"))["version"] == __version__
    assert re.search(r"(?m)^## (\S+?),", text("CHANGELOG.md"))[1] == __version__


def test_the_citation_has_the_fields_that_its_format_needs():
    known = yaml.safe_load(text("CITATION.cff"))
    assert known["cff-version"] == "1.2.0"
    assert {"message", "title", "authors"} <= known.keys()
    assert all(author.keys() <= {"name", "family-names"} for author in known["authors"])


def test_forms_ask_for_a_format_that_there_is():
    forms = sorted((ROOT / ".github/ISSUE_TEMPLATE").glob("*.yml"))
    bodies = [yaml.safe_load(path.read_text()) for path in forms if path.stem != "config"]
    assert len(bodies) == 2
    for form in bodies:
        assert {"name", "description", "body"} <= form.keys()
        asked = " ".join(part["attributes"].get("description", "") for part in form["body"])
        (name,) = set(re.findall(r"--format (\w+)", asked))
        assert name in FORMATS
