"""Makes the reference features of a data set into a folder, as for those that ship with bench.

    python -m bench.measurement.features.make_reference DATASET EXTRACTOR --out FOLDER

`bench reference` does the same for the cache.
"""

from __future__ import annotations

import argparse
from pathlib import Path

from bench.core.errors import InputError
from bench.measurement.features.reference import build


def main() -> None:
    """The command of the module's docstring."""
    parser = argparse.ArgumentParser(prog="python -m bench.measurement.features.make_reference")
    parser.add_argument("dataset")
    parser.add_argument("extractor")
    parser.add_argument("--out", type=Path, help="folder, by default the cache")
    parser.add_argument("--split", default="test")
    given = parser.parse_args()
    try:
        print(build(given.dataset, given.extractor, given.out, given.split))
    except InputError as error:
        raise SystemExit(f"error: {error}") from None


if __name__ == "__main__":
    main()
