"""`bench score` as a user meets it: an ordinary run, the run's own images, and bad input."""

from __future__ import annotations

import json
import zipfile

import pytest
from helpers.picture_sets import moved, pictures, save
from helpers.tiny import write_card, write_cards

import bench as package
from bench.core.errors import InputError
from bench.system import influences
from bench.system.runs import run_folders

QUICK = ("--metrics", "psnr,ssim")


@pytest.fixture
def sets(tmp_path, monkeypatch):
    """The folders bf16 and 4bit, in the working folder."""
    monkeypatch.chdir(tmp_path)
    made = pictures()
    save(tmp_path / "bf16", made)
    save(tmp_path / "4bit", moved(made))
    return made


def only(out):
    """The run.json of the one run of a folder."""
    (path,) = out.glob("*/run.json")
    return json.loads(path.read_text(encoding="utf-8"))


def test_a_run_that_every_command_takes(bench, sets, tmp_path):
    stated = ("--kernel", "nunchaku 1.0", "--note", "20 steps")
    code, out, err = bench("score", "bf16", "4bit", *QUICK, *stated)
    assert (code, err.splitlines()[:2]) == (0, ["bf16: 12 images", "4bit: 12 images"])
    assert "Verdict" in err and "images from elsewhere" in err
    page = (tmp_path / out.strip()).read_text(encoding="utf-8")
    assert "images from elsewhere | nunchaku 1.0 |  unknown" in page
    assert "12 of 48x40" in page and "| 20 steps" in page
    assert "| FD to the reference |" in " ".join(page.split())
    rendered = (tmp_path / out.strip()).with_suffix(".html").read_text(encoding="utf-8")
    assert "Images: reference and test" in rendered
    assert "The same images of all sets" in page and "The same images of all sets" in rendered
    for text in (page, rendered):
        assert "same noise" not in text and "own full precision" not in text
        assert "from full precision" not in text
    (folder,) = run_folders(tmp_path / "reports")
    schemes = [record["cell"]["scheme"]["elsewhere"] for record in only(folder.parent)["records"]]
    assert schemes == ["", "4bit"]
    for form in ("html", "csv", "junit", "bencher", "github-benchmark"):
        code, shown, _ = bench("report", "--format", form)
        assert (code, "4bit" in shown) == (0, form != "github-benchmark")
    assert bench("baseline", "accept", folder.name, "--reason", "first")[0] == 0
    assert bench("history")[0] == 0
    # The same pictures give the same numbers, which compare says of the pairs themselves.
    assert bench("score", "bf16", "4bit", *QUICK, *stated)[0] == 0
    code, shown, _ = bench("compare", "baseline")
    assert code == 0 and "bf16 4bit elsewhere" in shown and "paired" in shown


def test_a_folder_as_the_noise_floor(bench, sets, tmp_path):
    save(tmp_path / "other-batch", moved(sets, 1))
    save(tmp_path / "far", moved(sets, 8))
    flags = ("--floor", "other-batch", *QUICK)
    code, out, err = bench("score", "bf16", "far", "near=4bit", *flags, "--dry-run")
    assert code == 0 and "other-batch" in out
    code, out, err = bench("score", "bf16", "far", *flags)
    assert code == 0, err
    page = (tmp_path / out.strip()).read_text(encoding="utf-8")
    assert "times as far as other-batch does" in page and "## The noise floor" in page
    sets_of_images = page.partition("## Sets of images")[2]
    assert [word in sets_of_images for word in ("reference", "test", "noise floor")] == [True] * 3
    backends = [record["cell"]["backend"] for record in only(tmp_path / "reports")["records"]]
    assert backends == ["float", "elsewhere", "elsewhere:floor"]
    code, _, err = bench("score", "bf16", "4bit", "--floor", "nowhere")
    assert code == 2 and "nowhere" in err


def test_worse_pictures_are_a_regression(bench, sets, tmp_path):
    assert bench("score", "bf16", "4bit", *QUICK, "--kernel", "a")[0] == 0
    save(tmp_path / "new", moved(sets, 9))
    assert bench("score", "bf16", "4bit=new", *QUICK, "--kernel", "b")[0] == 0
    gate = ("compare", *run_folders(tmp_path / "reports"), "--fail-on", "psnr:0.5")
    code, shown, _ = bench(*gate)
    assert code == 1 and "**worse**" in shown and "stated kernel a → b" in shown


def test_a_certificate_has_the_hashes_of_both_sets(bench, sets, tmp_path):
    flags = ("--real", "fashion-mnist", "--metrics", "kernel")
    assert bench("score", "bf16", "4bit", *flags)[0] == 0
    assert bench("certify", "--margin", "kd_efficientnet:900%")[0] in (0, 3)
    (path,) = (tmp_path / "reports").glob("*/certificate.json")
    (claim,) = json.loads(path.read_text(encoding="utf-8"))["claims"]
    full, test = only(tmp_path / "reports")["records"]
    assert claim["full_precision"] == full["elsewhere"]["sha256"]
    assert claim["quantized"] == test["elsewhere"]["sha256"]
    assert claim["coverage"] is None
    assert bench("certify", "--check", path)[0] == 0


def test_a_quantizer_that_did_nothing_is_a_finding(bench, sets, tmp_path):
    assert bench("score", "bf16", "4bit", *QUICK)[0] == 0
    save(tmp_path / "copy", sets)
    code, _, err = bench("score", "bf16", "4bit=copy", *QUICK)
    assert code == 0
    assert "bf16 4bit elsewhere: all 12 images equal those in full precision bit for bit" in err
    runs = run_folders(tmp_path / "reports")
    page = (runs[1] / "report.md").read_text(encoding="utf-8")
    assert "## Images that quantization did not change" in page
    code, shown, _ = bench("compare", *runs)
    assert code == 1 and "all 12 images equal those in full precision" in shown


def test_a_share_of_equal_pictures_is_named(bench, sets, tmp_path):
    test = moved(sets)
    save(tmp_path / "some", test | {name: sets[name] for name in ("p01", "p02", "p03")})
    err = bench("score", "bf16", "some", *QUICK)[2]
    assert "3 of 12 images (25%) equal those in full precision bit for bit" in err


def test_a_runs_own_images_give_its_numbers_to_the_last_digit(bench, tmp_path, cache, monkeypatch):
    monkeypatch.chdir(tmp_path)
    cards = write_cards(tmp_path, [write_card(tmp_path)])
    size = ("--images", "10", "--steps", "2", "--batch", "10")
    flags = ("--scheme", "w4a8", "--backend", "simulated", "--metrics", "+ms_ssim")
    assert bench("run", "--cards", cards, *size, *flags, "--out", "made")[0] == 0
    code, out, _ = bench("report", "--format", "images", "--out", "made")
    folders = out.split()
    assert (code, len(folders)) == (0, 2)
    named = [f"{name}={path}" for name, path in zip(("full", "w4a8"), folders, strict=True)]
    metrics = ("--real", "fashion-mnist", "--metrics", "+ms_ssim")
    assert bench("score", *named, *metrics, "--out", "scored")[0] == 0
    made, scored = only(tmp_path / "made")["records"], only(tmp_path / "scored")["records"]
    for before, after in zip(made, scored, strict=True):
        assert before["measurements"] == after["measurements"]
        assert before["real"] == after["real"]
        assert before["equal"] == after["equal"]
    terms = [
        [list(values) for values in influences.load(next(tmp_path.glob(f"{n}/*/*.npz"))).values()]
        for n in ("made", "scored")
    ]
    assert terms[0] == terms[1]
    code, _, err = bench("report", "--format", "images", "--out", "scored")
    assert (code, "made elsewhere" in err) == (2, True)
    for path in cache.glob("images/*/*.npy"):
        path.unlink()
    code, _, err = bench("report", "--format", "images", "--out", "made")
    assert (code, "does not hold the images" in err) == (2, True)


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (("bf16", "bf16"), "is there twice"),
        (("bf16", "x=bf16/../bf16"), "is there twice"),
        (("bf16", "none"), "no folder or zip archive"),
        (("bf16", "bf16=4bit"), "both called bf16"),
        (("bf16", "a b=4bit"), "no name for pictures"),
        (("bf16", "=4bit"), "write NAME=PATH"),
        (("bf16", "4bit", "--label", "x=none"), "no such path is scored"),
        (("bf16", "4bit", "--note", "a\nb"), "one line"),
        (("bf16", "4bit", "--metrics", "kernel"), "name some by --real"),
        (("bf16", "empty"), "holds no .png"),
        (("bf16", "broken"), "not a readable image"),
        (("bf16", "other"), "no picture has a partner"),
        (("bf16",), "Missing argument"),
    ],
)
def test_bad_input_is_one_line_and_writes_nothing(bench, sets, tmp_path, words, said):
    (tmp_path / "empty").mkdir()
    save(tmp_path / "other", {f"q{name}": x for name, x in sets.items()})
    save(tmp_path / "broken", sets)
    (tmp_path / "broken" / "p06.png").write_bytes(b"\x89PNG")
    code, out, err = bench("score", *words)
    assert (code, out) == (2, "")
    assert said in err
    assert len(err.strip().splitlines()) == 1
    assert not (tmp_path / "reports").exists()


def test_labels_dry_runs_and_redaction(bench, sets, tmp_path):
    code, out, _ = bench("score", "bf16", "4bit", "--label", "new=4bit", "--dry-run")
    assert code == 0 and "new " in out and "12 pairs; by psnr, ssim, ms_ssim" in out
    assert not (tmp_path / "reports").exists()
    where = tmp_path / "home" / "ann"
    save(where / "ref", sets)
    assert bench("score", where / "ref", "4bit", *QUICK, "--redact")[0] == 0
    assert str(tmp_path) not in json.dumps(only(tmp_path / "reports"))


def test_names_are_looked_at_before_any_picture(bench, tmp_path, monkeypatch):
    """The members of these archives are empty, as would be said of the first one opened."""
    monkeypatch.chdir(tmp_path)
    for name, letter in (("a.zip", "a"), ("b.zip", "b")):
        with zipfile.ZipFile(name, "w") as archive:
            for k in range(1000 if letter == "a" else 3):
                archive.writestr(f"{letter}{k:06d}.png", b"")
    code, _, err = bench("score", "a.zip", "b.zip")
    assert (code, "no picture has a partner" in err) == (2, True)


@pytest.fixture
def clip(tmp_path, monkeypatch):
    """A small CLIP, and prompts of the pictures."""
    pytest.importorskip("transformers", reason="the extra `transformers` is not installed")
    from helpers import random_clip

    random_clip.save(tmp_path / "clip")
    monkeypatch.setenv("BENCH_CLIP_SCORE", str(tmp_path / "clip"))
    rows = "".join(f'p{k:02d}.png,"a cat, {k} times"\n' for k in range(12))
    (tmp_path / "prompts.csv").write_text(f"name,prompt\n{rows}", encoding="utf-8")


def test_prompts_give_the_clip_score_and_its_paired_change(bench, sets, tmp_path, clip):
    flags = ("--prompts", "prompts.csv", "--metrics", "psnr,clip_score")
    code, out, err = bench("score", "bf16", "4bit", "same=bf16/", *flags[:2], "--dry-run")
    assert code == 2 and "is there twice" in err
    save(tmp_path / "same", sets)
    code, out, err = bench("score", "bf16", "4bit", "same", *flags)
    assert code == 0
    assert "12 of 12 prompts are longer than the 8 tokens that CLIP reads" in err
    full, test, same = only(tmp_path / "reports")["records"]
    value = {m["name"]: m for record in (full, test) for m in record["measurements"]}
    before, after = (r["measurements"] for r in (full, test))
    before, after = ({m["name"]: m["value"] for m in ms} for ms in (before, after))
    delta = value["delta_clip_score@12"]
    assert delta["paired"] and delta["low"] <= delta["value"] <= delta["high"]
    change = after["clip_score@12"] - before["clip_score@12"]
    assert delta["value"] == pytest.approx(change, abs=1e-9) and change != 0
    (nothing,) = (m for m in same["measurements"] if m["name"] == "delta_clip_score@12")
    assert (nothing["value"], nothing["low"]) == (0, None)
    hashes = {record["elsewhere"]["prompts"] for record in (full, test, same)}
    assert len(hashes) == 1 and len(hashes.pop()) == 64
    assert test["host"]["versions"]["clip_score"].startswith("folder clip (")
    page = (tmp_path / out.strip()).read_text(encoding="utf-8")
    assert "clip_score" in page
    # Of other prompts the images are other ones.
    text = (tmp_path / "prompts.csv").read_text(encoding="utf-8")
    (tmp_path / "others.csv").write_text(text.replace("cat", "dog"), encoding="utf-8")
    assert bench("score", "bf16", "4bit", "same", *flags[2:], "--prompts", "others.csv")[0] == 0
    code, shown, _ = bench("compare", *run_folders(tmp_path / "reports"))
    assert code == 1 and "prompts SHA-256" in shown


def test_prompts_without_a_metric_are_recorded(bench, sets, tmp_path, clip):
    code, _, err = bench("score", "bf16", "4bit", "--prompts", "prompts.csv", *QUICK)
    assert code == 0 and "--metrics +clip_score" in err.splitlines()[0]
    assert only(tmp_path / "reports")["records"][1]["elsewhere"]["prompts"]


@pytest.mark.parametrize(
    ("words", "said"),
    [
        ((), "by `bench score ... --prompts FILE`, or leave it out"),
        (("--prompts", "none.csv"), "cannot be read as a file of prompts"),
        (("--prompts", "few.jsonl"), "no prompt for 11 of 12 pictures (p00, p02, p03 ...)"),
    ],
)
def test_bad_prompts_are_one_line_and_write_nothing(bench, sets, tmp_path, clip, words, said):
    (tmp_path / "few.jsonl").write_text('{"name": "p01", "prompt": "x"}', encoding="utf-8")
    for more in ((), ("--dry-run",)):
        flags = (*words, "--metrics", "+clip_score", *more)
        code, _, err = bench("score", "bf16", "4bit", *flags)
        assert (code, len(err.strip().splitlines())) == (2, 1)
        assert said in err
    assert not (tmp_path / "reports").exists()


def test_a_run_has_no_prompts(bench, tmp_path, cache):
    cards = write_cards(tmp_path, [write_card(tmp_path)])
    code, _, err = bench("run", "--cards", cards, "--metrics", "+clip_score", "--dry-run")
    assert code == 2 and "by `bench score ... --prompts FILE`" in err.splitlines()[-1]


def test_python_gives_the_run(sets, tmp_path):
    out = tmp_path / "reports"
    rows = "".join(f"{name},a cat\n" for name in sets)
    (tmp_path / "p.csv").write_text(f"name,prompt\n{rows}", encoding="utf-8")
    stated = {"note": "from Python", "prompts": "p.csv"}
    run = package.score("bf16", "4bit", metrics=("psnr",), out=out, **stated)
    again = package.load(run.run.id, out=out)
    assert run.run == again.run
    assert run.frame().query("metric == 'psnr'").checkpoint.tolist() == ["4bit"]
    assert run.run.records[1].elsewhere.note == "from Python"
    assert run.run.records[1].elsewhere.prompts
    with pytest.raises(TypeError, match="no argument x"):
        package.score("bf16", "4bit", x=1)
    with pytest.raises(InputError, match="held against"):
        package.score("bf16")
