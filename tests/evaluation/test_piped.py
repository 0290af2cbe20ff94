"""Cells of pipelines: their own sampler and guidance, the prompts of the card or the command."""

import json
from dataclasses import replace
from pathlib import Path

import pytest
from helpers.tiny import write_cards

from bench.core.cell import PIPELINE, Cell, Checkpoint, Draw
from bench.core.errors import InputError
from bench.core.scheme import Scheme
from bench.evaluation import keys, piped, planning
from bench.models.pipelines import prompt_files
from bench.system.host import fingerprint

SIZE = planning.Preset(4, 2, ())


@pytest.fixture
def cards(tmp_path):
    """A card of a folder that has what a plan looks at, and no weights that could be loaded."""
    index = {
        "_class_name": "FluxPipeline",
        "transformer": ["diffusers", "FluxTransformer2DModel"],
        "vae": ["diffusers", "AutoencoderKL"],
        "scheduler": ["diffusers", "FlowMatchEulerDiscreteScheduler"],
    }
    folder = tmp_path / "flux"
    for name in ("transformer", "vae", "scheduler"):
        (folder / name).mkdir(parents=True)
        (folder / name / "config.json").write_text("{}")
    (folder / "model_index.json").write_text(json.dumps(index))
    (tmp_path / "p.txt").write_text("a red cat\ntwo dogs\n")

    def written(**more):
        fields = {"name": "it", "family": "it", "method": "baseline", "source": PIPELINE}
        fields |= {"uri": "flux", "dataset": "none", "prompts": "p.txt"}
        return write_cards(tmp_path, [fields | more])

    return written


def plan(path, named=(), draw=Draw(steps=2, images=4), prompts=None, **scoring):
    wanted = planning.schemes(8, ())
    scored = planning.scoring((), scoring.get("metrics", ()), "test")
    choices = planning.Choices(
        wanted, ["ao-int8"], scored, named=frozenset(named), prompts=prompts
    )
    return planning.plan(path, ["*"], SIZE, choices, draw)


def test_a_plan_takes_the_sampler_and_guidance_of_the_pipeline(cards):
    full, quantized = plan(cards())
    for cell in (full, quantized):
        assert (cell.draw.sampler, cell.draw.spacing) == (PIPELINE, PIPELINE)
        assert (cell.draw.guidance, cell.draw.steps) == (3.5, 2)
        assert cell.metrics == ("psnr", "ssim", "frechet_twin")
    assert quantized.reference == full


def test_guidance_of_the_card_and_of_the_command(cards):
    path = cards(config={"guidance": 2})
    assert plan(path)[0].draw.guidance == 2.0
    asked = Draw(steps=2, images=4, guidance=1.0)
    assert plan(path, named=["guidance"], draw=asked)[0].draw.guidance == 1.0


def test_prompts_of_the_card_the_command_and_bench(cards, tmp_path):
    other = tmp_path / "other.txt"
    other.write_text("a harbour\n")
    named, given = plan(cards())[0], plan(cards(), prompts=other)[0]
    shipped = plan(cards(prompts=""))[0]
    assert piped.texts(named) == ["a red cat", "two dogs", "a red cat", "two dogs"]
    assert piped.texts(given) == ["a harbour"] * 4
    assert piped.texts(shipped) == list(prompt_files.read(prompt_files.SHIPPED)[:4])
    host = fingerprint()
    assert len({keys.of_images(cell, host) for cell in (named, given, shipped)}) == 3
    # The content decides, wherever the file is.
    (tmp_path / "moved.txt").write_bytes((tmp_path / "p.txt").read_bytes())
    moved = plan(cards(), prompts=tmp_path / "moved.txt")[0]
    assert keys.of_images(moved, host) == keys.of_images(named, host)


def test_the_keys_hold_what_encodes_prompts(cards):
    texts = keys.identities([("sources", PIPELINE)])
    assert "sources pipeline transformers" in texts


def test_prompts_of_a_card_are_held_against_its_hash(cards):
    with pytest.raises(InputError, match=r"the card says 000000000000\.\.\."):
        plan(cards(prompts_sha256="0" * 64))


def test_other_networks_are_untouched():
    card = Checkpoint("a", "a", "baseline", "adm", "a.pt", "0" * 64, "cifar10")
    cell = Cell(card, Scheme(), "float", Draw())
    assert piped.fitted(cell, {"sampler"}) is cell
    assert piped.texts(cell) is None
    assert "prompts" not in card.content()
    with pytest.raises(InputError, match="is for pipelines"):
        piped.with_prompts(card, Path("p.txt"))
    piped.refuse(card, "bench speed")
    with pytest.raises(InputError, match="bench speed takes none yet"):
        piped.refuse(replace(card, source=PIPELINE), "bench speed")


def test_a_metric_of_real_images_needs_a_data_set(cards):
    with pytest.raises(InputError, match="metric kernel compares with real images"):
        plan(cards(), metrics=("+kernel",))
