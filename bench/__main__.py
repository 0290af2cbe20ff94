"""`python -m bench` and the command `bench`: the way in, with nothing imported before signals and
streams are taken care of."""

from __future__ import annotations

import os
import sys


def main() -> None:
    """Entry point of the command `bench`."""
    _forget_the_working_folder()
    from bench.cli import exits

    sys.exit(exits.ended(_command))


def _forget_the_working_folder() -> None:
    """Import nothing from where the command happens to run: a `pickle.py` there is no module.

    `python -m` puts the working folder first, and an empty entry of PYTHONPATH means it too.
    bench itself is found by now, wherever it lies. Processes that a library starts inherit the
    variable, and would import the `sitecustomize` that lies there.
    """
    if __name__ == "__main__" and not getattr(sys.flags, "safe_path", sys.flags.isolated):
        del sys.path[0]
    sys.path[:] = [path for path in sys.path if path]
    if entries := os.environ.get("PYTHONPATH"):
        named = [path for path in entries.split(os.pathsep) if path]
        os.environ["PYTHONPATH"] = os.pathsep.join(named)


def _command() -> int | None:
    from bench.system import address_space

    address_space.check()
    from bench.cli.app import app
    from bench.system import freed_memory, interrupts

    interrupts.install()
    freed_memory.keep()
    code: int | None = app(standalone_mode=False)
    return code


if __name__ == "__main__":
    main()
