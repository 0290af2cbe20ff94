"""The pages of the reference are made from the code, and links of the site lead to copies."""

from __future__ import annotations

import dataclasses
import importlib.util
from pathlib import Path
from types import SimpleNamespace

import pytest
import typer
import yaml

from bench.cli.app import app
from bench.core.cell import Checkpoint

ROOT = Path(__file__).parents[2]


@pytest.fixture(scope="module")
def hooks():
    spec = importlib.util.spec_from_file_location("hooks", ROOT / "docs" / "hooks.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def test_every_verb_and_flag_is_on_the_page_of_commands(hooks):
    page = hooks.commands_page()
    for name, command in typer.main.get_command(app).commands.items():
        section = page.partition(f"## bench {name}\n")[2].partition("\n## ")[0]
        inner = getattr(command, "commands", {})
        assert all(f"## bench {name} {word}\n" in page for word in inner)
        for option in (option for p in command.params for option in p.opts if "--" in option):
            assert option in section, (name, option)


def test_every_field_of_a_card_is_explained(hooks):
    page = hooks.card_page()
    for field in dataclasses.fields(Checkpoint):
        (line,) = [line for line in page.splitlines() if line.startswith(f"| `{field.name}` |")]
        # The license is what it says.
        assert len(line.split("|")[3].strip()) > 5 or field.name == "license"


def test_links_out_of_the_manual_lead_to_copies(hooks, caplog):
    page = SimpleNamespace(file=SimpleNamespace(src_uri="howto/a.md", dest_uri="howto/a.html"))
    text = "[x](../../bench/api.py) [y](../zoo.md#a) [z](../../none.py)"
    shown = hooks.on_post_page(hooks.on_page_markdown(text, page, None, None), page, None)
    assert shown == "[x](../repository/bench/api.py) [y](../zoo.md#a) [z](../../none.py)"
    assert "../../none.py, which is not there" in caplog.text


def test_every_page_has_its_place_in_the_navigation():
    def names(part):
        if isinstance(part, str):
            return {part}
        return set().union(*map(names, part.values() if isinstance(part, dict) else part))

    described = yaml.safe_load((ROOT / "mkdocs.yml").read_text(encoding="utf-8"))
    there = {str(path.relative_to(ROOT / "docs")) for path in (ROOT / "docs").rglob("*.md")}
    assert names(described["nav"]) == there | {"reference/commands.md", "reference/card.md"}
    for name in there - {"index.md"}:
        if "/" in name or name == "glossary.md":
            opening = (ROOT / "docs" / name).read_text(encoding="utf-8").splitlines()[2]
            assert opening.startswith("After this page"), name
