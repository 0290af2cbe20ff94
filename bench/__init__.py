"""bench: how much image quality a diffusion checkpoint loses under quantization.

The command line (`bench run`, `bench report`, ...) is the way in; `bench.load` and `bench.compare`
give a notebook what it says, `bench.score` does what `bench score` does. Importing this package
has no effects and does not import torch.
"""

from __future__ import annotations

from typing import Any

__version__ = "0.2.0"
__all__ = ["compare", "load", "score"]


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})


def __getattr__(name: str) -> Any:
    if name in __all__:
        from bench import api

        return getattr(api, name)
    raise AttributeError(f"module 'bench' has no attribute {name!r}")
