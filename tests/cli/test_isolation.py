"""What lies in the working folder is never imported; files of samples have names of their own."""

from __future__ import annotations

import os
import subprocess
import sys
from dataclasses import replace

import pytest

from bench import __main__
from bench.core.cell import Draw, expand
from bench.evaluation import speed
from bench.models.cards import load_cards, verify
from bench.system.runs import sample_name, sample_path


@pytest.mark.slow
def test_the_working_folder_is_no_place_of_modules(cards, tmp_path, monkeypatch):
    for name in ("pickle", "typer", "numpy", "torch", "sitecustomize"):
        (tmp_path / f"{name}.py").write_text("open('executed', 'w')\n")
    monkeypatch.chdir(tmp_path)
    words = [sys.executable, "-m", "bench", "list", "--cards", str(cards)]
    assert subprocess.run(words, capture_output=True).returncode == 0
    card = verify(load_cards(cards)[0])
    # As of a notebook, whose path begins with the working folder.
    monkeypatch.setattr(sys, "path", ["", *sys.path])
    monkeypatch.setenv("PYTHONPATH", os.pathsep.join(["", *sys.path[1:]]))
    speed._in_a_process(speed.Job(card, "fp32", "float32", Draw(steps=2, batch=2)))
    assert not (tmp_path / "executed").exists()


def test_processes_of_libraries_do_not_look_there_either(monkeypatch):
    """The first process has run a `sitecustomize` of an empty entry before bench is asked."""
    monkeypatch.setattr(sys, "path", ["", "/a", "", "/b"])
    monkeypatch.setenv("PYTHONPATH", os.pathsep.join(["", "/a", "", "/b", ""]))
    __main__._forget_the_working_folder()
    assert sys.path == ["/a", "/b"]
    assert os.environ["PYTHONPATH"] == os.pathsep.join(["/a", "/b"])


def test_names_of_samples(cards, tmp_path):
    card = load_cards(cards)[0]
    names = ["tiny", "Tiny", "größe", "grüße", "模型", "型模", "a" * 240, "a" * 239 + "b"]
    cells = [expand([replace(card, name=name)], [], [], Draw())[0] for name in names]
    found = [sample_name(cell) for cell in cells]
    assert found[0] == "tiny--fp32--float.png"
    assert len({name.lower() for name in found}) == len(names)
    assert all(name.isascii() and len(name) < 140 for name in found)
    # A report of before has the other name.
    former = tmp_path / "Tiny--fp32--float.png"
    former.touch()
    assert sample_path(tmp_path, cells[1]) == former
    assert sample_path(tmp_path, cells[2]) == tmp_path / found[2]
