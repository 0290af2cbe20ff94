"""What mkdocs is told beside the pages: the reference, made from the code as it is, and links.

Commands and fields of cards are written when the manual is built, so they are those of the code.
Pages link to files outside of docs/ (reports, sources, tests), which GitHub shows; the site gets a
copy of each, and a link to what is not there is a warning, which fails a strict build.
"""

from __future__ import annotations

import dataclasses
import inspect
import logging
import posixpath
import re
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[1]
# Where the site keeps copies of files that lie outside of docs/, and what stands for that folder
# until links were checked: mkdocs takes such an address as it is.
COPIES = "repository"
STAND_IN = "https://repository.invalid/"
LINK = re.compile(r"(\]\()((?:\.\./)+[^)\s#]*)(#[^)\s]*)?(\))")
TOLD = logging.getLogger("mkdocs.hooks.bench")
copied: set[Path] = set()


def commands_page() -> str:
    """Every verb with its help as the command line prints it."""
    import typer
    from typer.testing import CliRunner

    from bench.cli.app import app

    root: Any = typer.main.get_command(app)
    lines = [
        "# Commands",
        "",
        "After this page you know each verb and flag. The texts are those that `--help` prints.",
    ]
    for words in [(), *_verbs(root)]:
        shown = CliRunner().invoke(app, [*words, "--help"], prog_name="bench", terminal_width=78)
        lines += ["", f"## {' '.join(('bench', *words))}", "", "```text"]
        lines += [shown.output.strip("\n"), "```"]
    return "\n".join(lines) + "\n"


def _verbs(group: Any, before: tuple[str, ...] = ()) -> Iterator[tuple[str, ...]]:
    for name, command in group.commands.items():
        yield (*before, name)
        if hasattr(command, "commands"):
            yield from _verbs(command, (*before, name))


def card_page() -> str:
    """The fields of a card: those of `Checkpoint`, with what its docstring says of each."""
    from bench.core.cell import Checkpoint
    from bench.models.cards import REQUIRED

    told = attributes(Checkpoint)
    lines = [
        "# Fields of a card",
        "",
        "After this page you can read and write a card ([tutorial](../tutorials/checkpoint.md)). "
        "The fields of `config` are those of its source ([checkpoints](../checkpoints.md)).",
        "",
        "| field | needed | meaning |",
        "|---|---|---|",
    ]
    for field in dataclasses.fields(Checkpoint):
        needed = "yes" if field.name in REQUIRED else "no"
        lines.append(f"| `{field.name}` | {needed} | {told.get(field.name, '')} |")
    return "\n".join(lines) + "\n"


def attributes(kind: type) -> dict[str, str]:
    """What the section Attributes of a docstring says of each attribute."""
    text = inspect.getdoc(kind) or ""
    section = text.partition("Attributes:\n")[2]
    told: dict[str, str] = {}
    for part in re.split(r"\n(?=    \w)", section):
        names, _, meaning = part.strip().partition(":")
        for name in names.split(", "):
            told[name] = " ".join(meaning.split())
    return told


def on_files(files: Any, config: Any) -> Any:
    """Add the pages that are made from the code."""
    from mkdocs.structure.files import File

    copied.clear()
    pages = {"reference/commands.md": commands_page, "reference/card.md": card_page}
    for name, make in pages.items():
        files.append(File.generated(config, name, content=make()))
    return files


def on_page_markdown(markdown: str, page: Any, config: Any, files: Any) -> str:
    """Lead links that leave docs/ to the copies."""
    folder = posixpath.dirname(page.file.src_uri)

    def lead(found: re.Match[str]) -> str:
        inside = posixpath.normpath(posixpath.join(folder, found[2]))
        if not inside.startswith("../"):
            return found[0]
        path = ROOT / inside.removeprefix("../")
        if not path.exists():
            TOLD.warning("%s links to %s, which is not there", page.file.src_uri, found[2])
            return found[0]
        path = _shown(path)
        copied.add(path)
        return f"{found[1]}{STAND_IN}{path.relative_to(ROOT).as_posix()}{found[4]}"

    return LINK.sub(lead, markdown)


def on_page_content(html: str, page: Any, config: Any, files: Any) -> str:
    """Keep intervals of tables on one line: "[7.9, 8.9]" breaks before, not inside."""
    return re.sub(r"(<td[^>]*>)([^<]*)", lambda found: found[1] + _whole(found[2]), html)


def _whole(text: str) -> str:
    return re.sub(r"(\[[-+−\d.]+,) (?=[-+−\d.]+\])", "\\1&nbsp;", text)


def on_post_page(output: str, page: Any, config: Any) -> str:
    """Lead links to the copies from where the page lies."""
    up = "../" * page.file.dest_uri.count("/")
    return output.replace(STAND_IN, f"{up}{COPIES}/")


def _shown(path: Path) -> Path:
    """What a browser shows best: the HTML report beside a Markdown one."""
    page = path.with_name("report.html")
    return page if path.name == "report.md" and page.is_file() else path


def on_post_build(config: Any) -> None:
    """Copy what pages link to outside of docs/."""
    for path in copied:
        target = Path(config.site_dir) / COPIES / path.relative_to(ROOT)
        target.parent.mkdir(parents=True, exist_ok=True)
        if path.is_file():
            shutil.copyfile(path, target)
