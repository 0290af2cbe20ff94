"""A package of someone else with entry points, put on the path as pip would: shared by all tests
that show what an extension takes. The fixture `site` of tests/conftest.py gives the folder."""

from __future__ import annotations

import sys
from importlib.util import cache_from_source

from bench.core import extensions
from bench.evaluation import closure


def install(folder, distribution, points, version="1.0", module="", text=""):
    """Write `DISTRIBUTION-VERSION.dist-info` into a folder, and a module beside it.

    Args:
        folder: is on the path: `site`, or PYTHONPATH of another process.
        distribution: name of the package.
        points: text of its entry_points.txt, as "[bench.metrics]\\nmine = module:Class\\n".
        version: of the package.
        module: name of the module to write, "" for none; `text` is its source.
    """
    info = folder / f"{distribution}-{version}.dist-info"
    info.mkdir(parents=True, exist_ok=True)
    (info / "METADATA").write_text(f"Name: {distribution}\nVersion: {version}\n")
    (info / "entry_points.txt").write_text(points)
    if module:
        path = folder / f"{module}.py"
        path.write_text(text)
        # Python takes compiled code of a file that was written in the same second for current.
        cached = folder / cache_from_source(path)
        cached.unlink(missing_ok=True)
        sys.modules.pop(module, None)
    forget()


def forget():
    """Make this process forget what it knows of installed packages and of their code."""
    extensions._points.cache_clear()
    for cached in (closure._hash, closure._source, closure._path, closure._folders):
        cached.cache_clear()
