"""The command line as a user types it.

The help texts are pinned in golden/help.txt; `python tests/cli/test_app.py` writes it anew.
"""

import csv
import io
import json
import os
import re
import shlex
import subprocess
import sys
from pathlib import Path

import pytest
import torch
import yaml
from helpers.fashion import fashion
from helpers.tiny import TINY_CONFIG, write_card, write_cards
from safetensors.torch import save_file

from bench.models.cards import load_cards, verify

GOLDEN = Path(__file__).parents[1] / "golden" / "help.txt"
COMMANDS = (
    "",
    "run",
    "score",
    "report",
    "compare",
    "baseline",
    "baseline accept",
    "baseline show",
    "history",
    "certify",
    "speed",
    "probe",
    "train",
    "import",
    "list",
    "check",
)
SIZES = [
    "--scheme",
    "w8a8",
    "--checkpoints",
    "*",
    "--images",
    "10",
    "--steps",
    "2",
    "--batch",
    "5",
]


HELPS = """
import sys
from bench.cli.app import main
for name in sys.argv[1].split(","):
    sys.argv = ["bench", *name.split(), "--help"]
    try:
        main()
    except SystemExit as stopped:
        assert stopped.code == 0, name
    print(chr(0))
"""


def helps():
    """All help texts at a fixed width, from one process."""
    environment = os.environ | {"COLUMNS": "100", "TERMINAL_WIDTH": "100"}
    words = [sys.executable, "-c", HELPS, ",".join(COMMANDS)]
    done = subprocess.run(words, env=environment, capture_output=True, text=True, check=True)
    texts = done.stdout.split(chr(0))[: len(COMMANDS)]
    return "\n\n".join(text.strip() for text in texts) + "\n"


def test_help_texts():
    assert helps() == GOLDEN.read_text(encoding="utf-8")


def test_version(bench):
    from bench import __version__

    assert bench("--version")[:2] == (0, f"bench {__version__}\n")


def check_command(recorded, words, out):
    """A shell takes the recorded command as it was."""
    assert shlex.split(recorded) == words
    assert f"--out '{out}'" in recorded


def test_methods_are_listed_with_where_they_were_published(bench):
    code, out, error = bench("list", "methods")
    assert code == 0
    lines = {line.split()[0]: line for line in out.splitlines()}
    assert " arXiv 1902.06822 Takes the weight range" in lines["mse"]
    assert " arXiv 2210.17323 Rounds weights in turn" in lines["gptq"]
    assert (
        " bench            Calls a function of your own: python=FILE.py:FUNCTION"
        in lines["python"]
    )
    assert lines["weights"].endswith(
        "rounded already or not: weights=FILE, or --weights-from FILE."
    )
    assert set(lines) >= {"adaround", "bias", "percentile"}
    assert error.splitlines()[1].startswith("rtn is plain rounding")
    assert "--method python:FILE.py:FUNCTION" in error and "bench.methods" in error
    assert "arXiv" not in bench("list", "samplers")[1]


def test_run_report_list_check(bench, cards, tmp_path):
    out = tmp_path / "my reports*"
    places = ["--cards", cards, "--out", out]
    code, stdout, _ = bench("run", *SIZES, *places, "--dry-run")
    assert code == 0
    assert "0 of 2 batches cached" in stdout
    assert "estimated time:" in stdout
    assert not out.exists()

    code, stdout, stderr = bench("run", *SIZES, *places)
    assert code == 0
    assert "w8a8: 8-bit weights, 8-bit activations" in stderr
    assert "from the cache" not in stderr
    folder = Path(stdout.strip()).parent
    names = {path.relative_to(folder).as_posix() for path in folder.rglob("*.*")}
    assert {"run.json", "report.md", "figures/grid.png", "figures/loss_by_method.png"} <= names
    first = json.loads((folder / "run.json").read_text())
    check_command(first["command"], ["bench", "run", *SIZES, *map(str, places)], out)

    code, stdout, stderr = bench("run", *SIZES, *places)
    assert code == 0
    # The reference, the simulation and, where this host has them, the integer kernels.
    assert re.search(r"\b([23]) of \1 cells came from the cache", stderr)
    second = json.loads((Path(stdout.strip()).parent / "run.json").read_text())
    assert second["records"] == first["records"]
    assert "cached" in bench("run", *SIZES, *places, "--dry-run")[1]

    code = "from bench.cli.app import app; app(standalone_mode=False)"
    code += "; import sys; print('torch' in sys.modules)"
    words = [sys.executable, "-c", code, "run", *SIZES, *map(str, places)]
    done = subprocess.run(words, capture_output=True, text=True, check=True)
    assert done.stdout.splitlines()[-1] == "False"

    text = (folder / "report.md").read_text(encoding="utf-8")
    code, stdout, _ = bench("report", folder.name, "--out", out)
    assert (code, stdout.splitlines()) == (0, text.splitlines())
    rows = list(csv.DictReader(io.StringIO(bench("report", folder, "--format", "csv")[1])))
    # Two distances of the reference; those, their changes and three paired ones of w8a8.
    simulated = [row for row in rows if row["backend"] != "int8-x86"]
    assert len(simulated) == 9
    assert len(rows) in (9, 9 + 8)
    assert len(json.loads(bench("report", folder, "--format", "json")[1])) == len(rows)
    assert folder.name in (out / "index.md").read_text()
    assert folder.name in bench("list", "--cards", cards, "--out", out)[1]
    code, stdout, stderr = bench("check", "--cards", cards)
    assert (code, stdout.split()[0], stdout.split()[-1]) == (0, "tiny", "ok")
    assert "valid" in stderr


SHIPPED = Path(__file__).parents[2] / "checkpoints.yaml"


@fashion
def test_a_shipped_card_is_valid(bench):
    code, stdout, stderr = bench("check", "--cards", SHIPPED, "--checkpoints", "fashion-unet-sam")
    assert (code, stdout.split()[-1]) == (0, "ok")
    # Nothing is told of its description: it fits the weights.
    assert len(stderr.splitlines()) == 1 and "checkpoints.yaml: valid (bench" in stderr


def test_shipped_weights_are_those_of_their_cards():
    cards = load_cards(SHIPPED)
    assert len(cards) == 19
    assert [verify(card).sha256 for card in cards] == [card.sha256 for card in cards]


@pytest.mark.slow
def test_shipped_cards_are_valid(bench):
    code, stdout, _ = bench("check", "--cards", SHIPPED)
    assert code == 0
    assert [line.split()[-1] for line in stdout.splitlines()] == ["ok"] * 19


def refused(result, *words):
    """One line that says `words`, and exit code 2."""
    code, stdout, stderr = result
    assert code == 2
    assert stdout == ""
    lines = [line for line in stderr.splitlines() if not line.startswith("w")]
    assert len(lines) == 1
    assert lines[0].startswith("bench: ")
    for word in words:
        assert word in lines[0]


@pytest.mark.parametrize(
    ("flags", "word"),
    [
        (["--scheme", "w4b8"], "w4b8"),
        (["--checkpoints", ""], "--checkpoints has an empty name in ''"),
        (["--metrics", "psnr,"], "--metrics has an empty name in 'psnr,'"),
        (["--scheme", "w9a8"], "2..8"),
        (["--scheme", "w4a8+maybe"], "maybe"),
        (["--bits", "1"], "2..8"),
        (["--bits", "9"], "2..8"),
        (["--bits", "four"], "--bits"),
        (["--bots", "4"], "--bots"),
        (["--preset", "huge"], "smoke, default, full"),
        (["--sampler", "euler"], "euler"),
        (["--metrics", "+precison"], "did you mean 'precision'?"),
        (["--images", "1"], "--images"),
        (["--images", "0"], "at least 1"),
        (["--steps", "0"], "at least 1"),
        (["--steps", "1001"], "at most 1000"),
        (["--batch", "-1"], "at least 1"),
        (["--seed", "-1"], "at least 0"),
        (["--checkpoints", "none"], "there are: tiny"),
        (["--cards", "nowhere.yaml"], "nowhere.yaml"),
        (["--device", "gpu"], "no device 'gpu': choose cpu, cuda or mps"),
        (["--device", "cuda:99"], "no device 'cuda:99' here: choose --device cpu"),
    ],
)
def test_bad_flags(bench, cards, tmp_path, flags, word):
    out = tmp_path / "out"
    refused(bench("run", *SIZES, "--cards", cards, "--out", out, *flags), word)
    assert not out.exists()


@fashion
def test_every_command_refuses_a_device_that_is_not_here(bench, cards, tmp_path):
    out = ("--out", tmp_path / "out")
    for command, words in (("run", out), ("probe", out), ("speed", ()), ("train", out)):
        cards_of = () if command == "train" else ("--cards", cards)
        result = bench(command, "--device", "cuda:99", *cards_of, *words)
        refused(result, "no device 'cuda:99' here: choose --device cpu")
    assert not (tmp_path / "out").exists()


def test_unwritable_output(bench, cards, tmp_path):
    occupied = tmp_path / "file"
    occupied.write_text("")
    for out in (occupied, occupied / "below"):
        refused(bench("run", *SIZES, "--cards", cards, "--out", out), "cannot write", "--out")
    assert occupied.read_text() == ""


def truncate(path):
    path.write_bytes(path.read_bytes()[:-100])


def pickle(path):
    torch.save({"a": torch.zeros(3)}, path)


def pointer(path):
    path.write_text("version https://git-lfs.github.com/spec/v1\n")


def other_network(path):
    save_file({"a": torch.zeros(3)}, path)


def not_a_number(path):
    from safetensors.torch import load_file

    weights = load_file(path)
    weights[next(iter(weights))].fill_(float("nan"))
    save_file(weights, path)


@pytest.mark.parametrize("hashed", [True, False])
@pytest.mark.parametrize(
    "damage", [Path.unlink, truncate, pickle, pointer, other_network, not_a_number]
)
@pytest.mark.parametrize("command", ["run", "check"])
def test_bad_weights(bench, tmp_path, damage, hashed, command):
    entry = write_card(tmp_path)
    if not hashed:
        del entry["sha256"]
    damage(tmp_path / entry["uri"])
    cards, out = write_cards(tmp_path, [entry]), tmp_path / "out"
    words = [*SIZES, "--out", out] if command == "run" else []
    refused(bench(command, *words, "--cards", cards), "card 'tiny'")
    assert not out.exists()


def nested(**changes):
    return {"config": TINY_CONFIG | changes}


@pytest.mark.parametrize(
    ("changes", "word"),
    [
        ({"uri": "../tiny.safetensors"}, "uri"),
        ({"uri": "/etc/passwd"}, "uri"),
        ({"uri": "zoo:../spec.py"}, "uri"),
        ({"sha256": "0" * 64}, "sha256"),
        ({"sha": "0"}, "sha"),
        ({"family": ""}, "family"),
        ({"source": "pickle"}, "source"),
        ({"dataset": "mnist"}, "dataset"),
        ({"config": 3}, "config"),
        ({"config": {}}, "config"),
        (nested(shape=3), "shape"),
        (nested(shape=[1, 28]), "shape"),
        (nested(shape=["a", "b", "c"]), "shape"),
        (nested(timesteps="many"), "timesteps"),
        (nested(timesteps=-5), "timesteps"),
        (nested(schedule="round"), "schedule"),
        (nested(predicts="nothing"), "predic"),
        (nested(network=3), "network"),
        (nested(network={"patch": 2}), "network"),
        (nested(network={"patch": 2, "unet": {"size": 3}}), "network"),
    ],
)
def test_bad_cards(bench, tmp_path, changes, word):
    cards = write_cards(tmp_path, [write_card(tmp_path, **changes)])
    out = tmp_path / "out"
    refused(bench("run", *SIZES, "--cards", cards, "--out", out), "'tiny'", word)
    assert not out.exists()


@pytest.mark.parametrize(
    ("dataset", "words"),
    [
        ("cifar10", "bench reference cifar10 efficientnet"),
        ("fashion-mnist:large", "takes no argument"),
        ("folder:nowhere", "nowhere: no folder or zip archive there"),
    ],
)
def test_missing_reference_features_are_found_before_sampling(bench, tmp_path, dataset, words):
    cards = write_cards(tmp_path, [write_card(tmp_path, dataset=dataset)])
    refused(bench("run", *SIZES, "--cards", cards, "--out", tmp_path / "out"), words)
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize("text", ["", "checkpoints: 3", "a: [", "\x00", "- 3", "checkpoints: [3]"])
def test_bad_card_files(bench, tmp_path, text):
    path = tmp_path / "cards.yaml"
    path.write_text(text)
    refused(bench("check", "--cards", path), "cards.yaml")


def test_a_name_used_twice(bench, tmp_path):
    entry = write_card(tmp_path)
    path = tmp_path / "twice.yaml"
    path.write_text(yaml.safe_dump({"checkpoints": [entry, entry]}))
    refused(bench("list", "--cards", path), "'tiny'", "name", "twice")


def test_bad_reports(bench, tmp_path):
    refused(bench("report", "--out", tmp_path), "bench run")
    refused(bench("report", "nothing", "--out", tmp_path), "nothing")
    (tmp_path / "broken").mkdir()
    (tmp_path / "broken" / "run.json").write_text("{")
    refused(bench("report", "broken", "--out", tmp_path), "run.json")
    refused(bench("report", "--format", "pdf", "--out", tmp_path), "markdown, csv, json, html")


def test_bad_training(bench, tmp_path):
    out = tmp_path / "out"
    refused(bench("train", "--updates", "0", "--out", out), "updates")
    refused(bench("train", "--name", "a/b", "--out", out), "--name")
    refused(bench("train", "--recipe", "fashion-une", "--out", out), "fashion-unet")
    refused(bench("train", "--method", "swa", "--out", out), "baseline, ip, sam")
    refused(bench("train", "--set", "rho", "--out", out), "FIELD=VALUE")
    refused(bench("train", "--set", "rate=3", "--out", out), "no such field")
    assert not out.exists()


if __name__ == "__main__":
    GOLDEN.write_text(helps(), encoding="utf-8")
