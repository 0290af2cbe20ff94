"""Where networks are evaluated: the CPU, or an accelerator that torch sees.

The noise of an image comes from CPU generators on every device, so the images of two devices are
twins; their bits differ, as sums are rounded in another order. So a device is part of every cache
key and of the host that a record names. It is the CPU unless another one is asked for: the same
command then gives the same rows on every machine.

Torch is imported only to look for an accelerator.
"""

from __future__ import annotations

import os
from dataclasses import replace
from typing import TYPE_CHECKING, Any

from bench.core.errors import InputError

if TYPE_CHECKING:
    from bench.core.denoiser import Denoiser

CPU = "cpu"
# The variable that says which accelerators a process sees.
VISIBLE = "CUDA_VISIBLE_DEVICES"


def find(wanted: str) -> str:
    """The name of a device as torch writes it; "auto" is the accelerator, or the CPU without one.

    Raises:
        InputError: no such device here.
    """
    if wanted == CPU:
        return CPU
    import torch

    accelerator = (
        torch.accelerator.current_accelerator() if torch.accelerator.is_available() else None
    )
    if wanted == "auto":
        return accelerator.type if accelerator else CPU
    try:
        device = torch.device(wanted)
    except RuntimeError:
        raise InputError(f"no device {wanted!r}: choose cpu, cuda or mps") from None
    counts = {CPU: 1}
    if accelerator:
        counts[accelerator.type] = torch.accelerator.device_count()
    if (device.index or 0) >= counts.get(device.type, 0):
        raise InputError(f"no device {wanted!r} here: choose --device cpu")
    return wanted if device.index else device.type


def accelerator(device: str) -> tuple[str, dict[str, str]]:
    """Identity of the arithmetic of a device that is not the CPU: its name with the instruction
    set, for example "NVIDIA H100 80GB HBM3 sm_90", and the versions of its libraries."""
    import torch

    if not device.startswith("cuda"):
        return device, {}
    major, minor = torch.cuda.get_device_capability(device)
    versions = {"cuda": str(torch.version.cuda), "cudnn": str(torch.backends.cudnn.version())}
    return f"{torch.cuda.get_device_name(device)} sm_{major}{minor}", versions


def visible(device: str) -> list[str]:
    """The accelerators that a device without a number may be, as `VISIBLE` names them; none where
    there is no choice: a CPU, one with a number, or another kind than CUDA."""
    if device != "cuda":
        return []
    import torch

    named = [name for name in os.environ.get(VISIBLE, "").split(",") if name]
    return named or [str(number) for number in range(torch.cuda.device_count())]


def placed(denoiser: Denoiser, device: str) -> Denoiser:
    """The denoiser on a device; its network and decoder are moved, not copied."""
    if device == CPU:
        return denoiser
    import torch

    # With TF32, convolutions would round float32 to 10 bits: no full precision to compare with.
    torch.backends.cudnn.allow_tf32 = torch.backends.cuda.matmul.allow_tf32 = False
    # Methods that choose the rounding turn a last bit into another network (docs/backends.md).
    torch.backends.cudnn.deterministic = True
    if denoiser.loop is not None:
        denoiser.loop.to(device)
    if denoiser.decode is not None:
        denoiser.decode.to(device)
    moved: Any = denoiser.model.to(device)
    return replace(denoiser, model=moved, device=device)


def wait(device: str) -> None:
    """Return when all that was asked of a device is done, as a clock needs it."""
    if device != CPU:
        import torch

        torch.accelerator.synchronize(device)
