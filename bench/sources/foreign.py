"""What is recognized and not loaded: networks of EDM and k-diffusion, and pickles that call code.

Both denoise at a continuous noise level sigma, D(x; sigma) = c_skip x + c_out F(c_in x; c_noise),
and neither F is a `UNet2DModel` or an ADM network (Karras et al. 2022, table 1). Who brings such
a file is told what it is and what can be taken instead, not which weights are missing.
"""

from __future__ import annotations

import pickletools
import re
from collections.abc import Iterable
from pathlib import Path

# Wrappers around the network in published and in exported files.
_WRAPPERS = re.compile(r"^(?:model\.|net\.|unet\.|inner_model\.|_orig_mod\.)+")
# Of each network the names that no other one has together.
NETWORKS = {
    "EDM": (r"map_layer0\.weight", r"enc\.\d+x\d+_conv\.weight"),
    "EDM2": (r"emb_noise\.weight", r"enc\.\d+x\d+_conv\.weight"),
    "k-diffusion": (r"(timestep_embed|time_emb)\.weight", r"(u_net|mid_level)\..*|patch_in\..*"),
}
# What NVIDIA's pickles call to rebuild a class out of the source code that they carry.
PERSISTENT = ("torch_utils.persistence", "training.networks", "dnnlib.")

# What rebuilds tensors and plain containers.
TENSORS = ("torch.", "collections.OrderedDict", "numpy.")

INSTEAD = (
    "bench loads networks of diffusers and of ADM: take a checkpoint of one of these, for example "
    "hf:google/ddpm-cifar10-32, or convert this one to a UNet2DModel that predicts epsilon at "
    "integer timesteps"
)


def network(names: Iterable[str]) -> str:
    """Whose network the weights of these names are, "" for none that is known here."""
    bare = [_WRAPPERS.sub("", name) for name in names]
    for title, patterns in NETWORKS.items():
        if all(any(re.fullmatch(pattern, name) for name in bare) for pattern in patterns):
            return title
    return ""


def refusal(title: str) -> str:
    """Why a network is not loaded, and what to do."""
    return f"a network of {title}, which denoises at continuous noise levels: {INSTEAD}"


def first_call(path: Path) -> str:
    """The first thing besides tensors that a plain pickle calls, by its opcodes; "" for none.

    Nothing is executed. torch's own reader names it in its own files alone.
    """
    strings: list[str] = []
    kept: list[str | None] = []
    last: str | None = None
    try:
        with path.open("rb") as stream:
            for opcode, value, _ in pickletools.genops(stream):
                name = str(value).replace(" ", ".") if opcode.name == "GLOBAL" else ""
                if opcode.name == "STACK_GLOBAL":
                    name = ".".join(strings[-2:])
                if name and not name.startswith(TENSORS):
                    return name
                if opcode.name == "MEMOIZE":
                    kept.append(last)
                    continue
                text = "UNICODE" in opcode.name
                if opcode.name in ("BINGET", "LONG_BINGET"):
                    place = int(value or 0)
                    text, value = True, kept[place] if place < len(kept) else None
                last = value if text else None
                strings += [last] if last else []
    # What is no pickle ends in one of these.
    except (ValueError, IndexError, OSError):
        pass
    return ""


def pickled(call: str) -> bool:
    """Whether a pickle that calls this is one of NVIDIA's, with source code inside."""
    return call.startswith(PERSISTENT)
