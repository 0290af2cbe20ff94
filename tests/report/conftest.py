"""Fixtures: a canned run and a folder with its samples."""

from __future__ import annotations

from pathlib import Path

import pytest
from helpers import canned_run

from bench.core.record import Run


@pytest.fixture
def run() -> Run:
    return canned_run.run()


@pytest.fixture
def folder(run: Run, tmp_path: Path) -> Path:
    canned_run.write_samples(run, tmp_path)
    return tmp_path
