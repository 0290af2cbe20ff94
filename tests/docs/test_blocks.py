"""Every code block of the README and of the manual's new pages is executed, or says why not.

A comment before a block decides: `<!-- run -->` executes it, in the order of the page and in one
working folder; `<!-- file: NAME -->` writes it to a file there; `<!-- not run: REASON -->` leaves
it. Commands get the smallest sizes, and names of what is not there stand-ins.
"""

from __future__ import annotations

import dataclasses
import re
import shlex
import shutil
from pathlib import Path

import numpy as np
import pytest
import yaml
from PIL import Image

from bench.core.cell import Checkpoint
from bench.models.cards import REQUIRED

ROOT = Path(__file__).parents[2]
FOLDERS = ("tutorials", "howto", "explanations", "reference")
PAGES = [
    ROOT / "README.md",
    ROOT / "docs" / "index.md",
    ROOT / "docs" / "glossary.md",
    *(path for folder in FOLDERS for path in sorted((ROOT / "docs" / folder).glob("*.md"))),
]
BLOCK = re.compile(
    r"(?m)^(?:<!-- (?P<mark>.*?) -->\n\n?)?"
    r"(?:```(?P<kind>\w+)\n(?P<fenced>[\s\S]*?)^```$|(?P<indented>(?:^    .+\n|^\n(?=    ))+))"
)
# Why blocks of the README, where comments would be in the way, are not executed here.
README = {
    "pip install . && bench run --bits 4": "nox -s smoke runs it at its smallest",
    "pip install nox && nox -s tests": "it is what runs this",
    "bench run --bits 4 --cards model.yaml --images 500 && bench compare baseline": (
        "nox -s regress runs it with the preset smoke"
    ),
}
KNOWN = {"bench import": "run", "bench reference": "run"}
SMALLEST = ("--images", "4", "--steps", "1", "--batch", "4", "--floor", "none")
NARROW = ("--backend", "simulated", "--metrics", "psnr", "--force")
RUN = "20261126T230839Z-79092ae9"


def blocks(path):
    """(mark, kind, text) of each block of a page."""
    for found in BLOCK.finditer(path.read_text(encoding="utf-8")):
        text = found["fenced"] or found["indented"]
        mark = found["mark"] or ""
        if path.name == "README.md":
            known = [word for start, word in KNOWN.items() if text.strip().startswith(start)]
            mark = known[0] if known else f"not run: {README[text.strip()]}"
        yield mark, found["kind"] or "commands", text


@pytest.mark.parametrize("path", PAGES, ids=lambda path: path.stem)
def test_each_block_is_run_or_says_why_not(path):
    for mark, _, text in blocks(path):
        assert re.fullmatch(r"run|file: \S+|not run: .+", mark), f"{path.name}: {text}"


def test_the_marks_are_found():
    assert sum(len(list(blocks(path))) for path in PAGES) > 25


def test_readme_has_the_two_commands_and_fits_two_minutes():
    text = (ROOT / "README.md").read_text(encoding="utf-8")
    assert len(text.splitlines()) <= 120
    assert [part[2].strip() for part in blocks(ROOT / "README.md")][:2] == [*README][:2]


def test_the_tutorial_of_ci_has_the_steps_of_the_workflow():
    (shown,) = [t for _, kind, t in blocks(ROOT / "docs/tutorials/ci.md") if kind == "yaml"]
    whole = yaml.safe_load((ROOT / ".github/workflows/regression.yml").read_text())
    steps = whole["jobs"]["regress"]["steps"]
    told = yaml.safe_load(shown)["jobs"]["regress"]["steps"]
    assert len(told) == 5 and [step for step in told if step not in steps] == []


def pictures(folder, count, size):
    folder.mkdir(parents=True)
    noise = np.random.default_rng(0)
    for k in range(count):
        pixels = noise.integers(0, 256, (size, size, 3), dtype=np.uint8)
        Image.fromarray(pixels).save(folder / f"{k:03d}.png")


@pytest.fixture
def place(tmp_path, monkeypatch):
    """A working folder with what the pages speak of."""
    folder = tmp_path / "place"
    pictures(folder / "photos", 40, 48)
    for name in ("bf16", "4bit", "bf16-again"):
        pictures(folder / name, 12, 48)
    shutil.copytree(ROOT / "reports" / RUN, folder / "reports" / RUN)
    monkeypatch.chdir(folder)
    return folder


def weights(folder):
    """A small network for 16 x 16 pixels as `model.pt` and `ema.pt`."""
    import torch
    from diffusers import UNet2DModel

    torch.manual_seed(0)
    layers = {"layers_per_block": 1, "block_out_channels": (8, 16), "norm_num_groups": 4}
    down, up = ("DownBlock2D", "DownBlock2D"), ("UpBlock2D", "UpBlock2D")
    blocks = {"down_block_types": down, "up_block_types": up, "add_attention": False}
    for name in ("model.pt", "ema.pt"):
        torch.save(UNet2DModel(sample_size=16, **layers, **blocks).state_dict(), folder / name)


def words_of(line, cards):
    """The words of a command at its smallest size."""
    line = line.replace("@64", "@16").replace("sample_size=64", "sample_size=16")
    line = re.sub(r"--preset \w+", "", line)
    verb, *words = shlex.split(line, comments=True)[1:]
    if verb == "run":
        words += [*SMALLEST, *NARROW]
        words += ("--method", "rtn") if "--method" not in words else ()
        words += ("--cards", str(cards)) if "--cards" not in words else ()
    if verb == "train":
        words += ("--batch", "8")
    if verb == "import":
        words += ("--force", "--set", "norm_num_groups=4")
    return verb, *words


def execute(path, bench, cards):
    code = {}
    for mark, kind, text in blocks(path):
        if mark.startswith("file: "):
            Path(mark[6:]).write_text(text)
        elif mark == "run" and kind == "python":
            exec(text, code)
        elif mark == "run":
            for line in filter(str.strip, text.splitlines()):
                words = words_of(line, cards)
                done, _, errors = bench(*words)
                assert done in (0, None), f"{shlex.join(words)}: {errors}"


LIGHT = ("tutorials/first-run", "howto/site")
HEAVY = (
    *("tutorials/checkpoint", "tutorials/images", "tutorials/method", "tutorials/cluster"),
    "howto/train",
)


def test_all_pages_with_blocks_to_run_are_run():
    assert {*LIGHT, *HEAVY} == {
        str(path.relative_to(ROOT / "docs").with_suffix(""))
        for path in PAGES[1:]
        if any(mark == "run" for mark, _, _ in blocks(path))
    }


@pytest.mark.parametrize("name", LIGHT)
def test_a_page_as_it_stands(name, place, bench):
    execute(ROOT / "docs" / f"{name}.md", bench, place)


@pytest.mark.slow
@pytest.mark.parametrize("name", HEAVY)
def test_a_page_that_samples(name, place, bench, cards):
    weights(place)
    execute(ROOT / "docs" / f"{name}.md", bench, cards)


@pytest.mark.slow
def test_the_readme(place, bench):
    weights(place)
    execute(ROOT / "README.md", bench, place)


def test_the_card_of_the_tutorial_has_fields_that_cards_have():
    (shown,) = [t for _, k, t in blocks(ROOT / "docs/tutorials/checkpoint.md") if k == "yaml"]
    told = yaml.safe_load(shown.replace(", ...}", "}"))["checkpoints"][0]
    assert set(REQUIRED) <= set(told) <= {field.name for field in dataclasses.fields(Checkpoint)}
