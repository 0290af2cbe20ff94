"""The network in full precision while a method of someone else acts on its quantized graph.

That network is also the full-precision twin of all cells of its checkpoint. A method that changes
it, of a file or of another package, fails by its name, and the network is put back as it was. So
does one that raises whatever it may, or tries to end the process.
"""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from typing import TYPE_CHECKING

from bench.core import extensions
from bench.core.denoiser import Denoiser
from bench.core.tables import METHODS
from bench.quant.methods.from_file import parse
from bench.system import disk
from bench.system.user_code import told

if TYPE_CHECKING:
    from torch import Tensor


@contextlib.contextmanager
def guarded(denoiser: Denoiser, name: str) -> Iterator[None]:
    """Keep a network as it is; bench's own methods leave it alone, and are not held up.

    Args:
        denoiser: in full precision.
        name: of the method, with its argument.

    Raises:
        RuntimeError: the method fails, or changes the network; in one line with its name.
    """
    plain = extensions.plain(name)
    if plain in METHODS and plain != "python":
        yield
        return
    kept = _Kept(denoiser)
    try:
        yield
    # A full disk, or files of the cache that vanished: no fault of the method.
    except disk.MachineError:
        raise
    except (Exception, SystemExit) as error:
        path = parse(name.partition(":")[2]).path if plain == "python" else None
        raise RuntimeError(f"method {name} fails ({told(error, path)})") from error
    finally:
        changed = kept.restore()
    if changed:
        raise RuntimeError(
            f"method {name} changes the network in full precision, {changed}: change the graph, "
            f"which is a copy of its own"
        )


class _Kept:
    """The parameters, buffers and modes of a network, and their values."""

    def __init__(self, denoiser: Denoiser) -> None:
        self.denoiser, self.model = denoiser, denoiser.model
        self.modes = [(module, module.training) for module in self.model.modules()]
        self.tensors = [
            (f"{path}.{key}".lstrip("."), held, key, tensor, tensor.detach().clone())
            for path, module in self.model.named_modules()
            for held in (module._parameters, module._buffers)
            for key, tensor in held.items()
            if tensor is not None
        ]

    def restore(self) -> str:
        """Put everything back; what was changed, in words, "" for nothing."""
        import torch

        changed = []
        if self.denoiser.model is not self.model:
            self.denoiser.model = self.model
            changed.append("its model")
        with torch.inference_mode(False), torch.no_grad():
            for name, held, key, tensor, value in self.tensors:
                if held.get(key) is not tensor or not _same(tensor, value):
                    held[key] = tensor
                    tensor.data = value
                    changed.append(name)
        for module, training in self.modes:
            if module.training != training:
                module.training = training
                changed.append("its mode of training")
        names = list(dict.fromkeys(changed))
        more = f" and {len(names) - 1} more" if len(names) > 1 else ""
        return f"{names[0]}{more}" if names else ""


def _same(tensor: Tensor, value: Tensor) -> bool:
    """Whether two tensors are alike to the bit; NaN equals itself."""
    import torch

    if tensor.shape != value.shape or tensor.dtype != value.dtype:
        return False
    return torch.equal(tensor, value) or bool(
        torch.allclose(tensor, value, rtol=0, atol=0, equal_nan=True)
    )
