"""Sessions: `nox -s tests` is what CI runs; `nox -s perf` prints ratios, on a quiet machine."""

from __future__ import annotations

import shutil
from pathlib import Path

import nox

nox.options.sessions = ["lint", "types", "tests"]
nox.options.reuse_existing_virtualenvs = True


@nox.session
def lint(session: nox.Session) -> None:
    """Ruff: lint and format."""
    session.install("ruff>=0.8")
    session.run("ruff", "check", ".")
    session.run("ruff", "format", "--check", ".")


@nox.session
def types(session: nox.Session) -> None:
    """Mypy on all of bench, beside the packages whose types it reads."""
    session.install(".", "mypy>=1.13", "types-PyYAML")
    session.run("mypy", "bench")


@nox.session
def tests(session: nox.Session) -> None:
    """The test suite: offline, on a CPU, under ten minutes on two cores."""
    session.install(".[test]")
    session.run("pytest", "-q", "-n", "auto", "--dist", "loadfile", *session.posargs)


@nox.session
def slow(session: nox.Session) -> None:
    """The tests that take minutes."""
    session.install(".[test]")
    session.run("pytest", "-q", "-m", "slow", *session.posargs)


@nox.session
def smoke(session: nox.Session) -> None:
    """The main job at its smallest, on the shipped checkpoints."""
    session.install(".")
    session.run("bench", "run", "--bits", "4", "--preset", "smoke", "--out", session.create_tmp())


@nox.session
def regress(session: nox.Session) -> None:
    """The smallest run on the shipped checkpoints against the pinned baseline; fails where worse.

    `nox -s regress -- FILE` also writes the verdicts to a file, as CI does for its summary.
    """
    session.install(".")
    out = Path(session.create_tmp()) / "reports"
    shutil.rmtree(out, ignore_errors=True)
    shutil.copytree("reports", out)
    before = set(out.iterdir())
    session.run("bench", "run", "--bits", "4", "--preset", "smoke", "--out", str(out))
    (head,) = (path for path in set(out.iterdir()) - before if path.is_dir())
    words = ("bench", "compare", "baseline", str(head), "--out", str(out))
    for path in session.posargs:
        with Path(path).open("a", encoding="utf-8") as stream:
            session.run(*words, stdout=stream, success_codes=[0, 1])
    session.run(*words)


@nox.session
def docs(session: nox.Session) -> None:
    """The manual as a site, in the folder `site`: a dead link or an unknown page fails."""
    session.install("-e", ".[docs]")
    session.run("mkdocs", "build", "--strict", env={"NO_MKDOCS_2_WARNING": "1"})


@nox.session
def perf(session: nox.Session) -> None:
    """Benchmarks: each prints ratios of things measured in one run."""
    session.install(".[perceptual,openvino,onnxruntime]")
    for name in (
        "frechet",
        "sampling",
        "training",
        "share",
        "memory",
        "integer",
        "runtimes",
        "perceptual",
        "features",
    ):
        session.run("python", f"benchmarks/{name}.py")
