"""Verbs as a user types them."""

from __future__ import annotations

import sys

import pytest

from bench.cli import app


def importing(monkeypatch, capture):
    """Run `bench import WORDS...`; return (exit code, stdout, stderr)."""

    def run(*words):
        monkeypatch.setattr(sys, "argv", ["bench", "import", *map(str, words)])
        with pytest.raises(SystemExit) as stopped:
            app.main()
        return stopped.value.code, *capture.readouterr()

    return run
