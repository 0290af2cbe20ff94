"""Files that are recognized and not loaded: networks of other authors, pickles that call code.

The message says what such a file is and what to do, not which weights are missing: a network whose
class bench does not have is built by a function of the user (source python), and `GIVEN` says what
the card must say of those whose authors' conventions are known. EDM and k-diffusion denoise at a
continuous noise level sigma, D(x; sigma) = c_skip x + c_out F(c_in x; c_noise), and neither F is a
`UNet2DModel` or an ADM network (Karras et al. 2022, table 1).
"""

from __future__ import annotations

import pickletools
import re
from collections.abc import Collection, Iterable, Mapping
from pathlib import Path

from torch import Tensor

CONTINUOUS = "which denoises at continuous noise levels"
OTHER = "whose layers are not those of a UNet2DModel"
LATENT = "whose images are latents of an autoencoder; import a diffusers folder, which has both"
TEXT = "which is conditioned on a text or an image and not on a class"
# For each network, names that no other one has together, and why it is not loaded.
NETWORKS = {
    "k-diffusion": (
        CONTINUOUS,
        r"(timestep_embed|time_emb)\.weight",
        r"(u_net|mid_level)\..*|patch_in\..*",
    ),
    "latent-diffusion": (LATENT, r"first_stage_model\..*", r"model\.diffusion_model\..*"),
    "diffusers' UNet2DConditionModel": (
        TEXT,
        r"time_embedding\.linear_1\.weight",
        r".*\.transformer_blocks\.0\.attn2\.to_k\.weight",
    ),
    "lucidrains' denoising-diffusion-pytorch": (
        OTHER,
        r"init_conv\.weight",
        r"downs\.0\.0\..*",
        r"final_conv(\.\d+)?\.weight",
    ),
    "DDIM's and DDPM's own code": (
        OTHER,
        r"temb\.dense\.0\.weight",
        r"down\.0\.block\.0\.conv1\.weight",
    ),
    "score_sde": (OTHER, r"all_modules\.0\.(weight|W|bias)", r"all_modules\.\d+\..*"),
    "U-ViT": (OTHER, r"patch_embed\.proj\.weight", r"in_blocks\.0\..*", r"out_blocks\.0\..*"),
    "diffusers' DiTTransformer2DModel": (
        "which one file does not describe; import its folder",
        r"pos_embed\.proj\.weight",
        r"transformer_blocks\.0\.norm1\.emb\..*",
    ),
    "LoRA's": (
        "which is added to another network: fuse it into that one and save the whole",
        r".*\.(lora_[AB]|lora_(up|down)|lora\.(up|down)|lora_linear_layer\.(up|down))(\.\w+)?\.weight",
    ),
    "diffusers' ControlNetModel": (
        "which steers another network",
        r"time_embedding\.linear_1\.weight",
        r"controlnet_down_blocks\.0\.weight",
    ),
    "diffusers' autoencoders": (
        "which makes no images of noise",
        r"encoder\.conv_in\.weight",
        r"decoder\.conv_in\.weight",
    ),
    "ADM's classifiers": (
        "which makes no images",
        r"input_blocks\.0\.0\.weight",
        r"out\.2\.(positional_embedding|c_proj\.weight)|out\.0\.(weight|bias)",
    ),
}
# Functions by which NVIDIA's pickles rebuild a class from the source code that they carry.
PERSISTENT = ("torch_utils.persistence", "training.networks", "dnnlib.")

# Functions that rebuild tensors and plain containers.
TENSORS = ("torch.", "collections.OrderedDict", "numpy.")

# Networks that a function of the user can build, the example in docs/networks, "" for none, and
# what must be set beside it.
GIVEN = {
    "k-diffusion": (
        "",
        "--set 'levels={kind: sigmas, told: sigma, sigma_data: 0.5}' --set predicts=edm",
    ),
    "lucidrains' denoising-diffusion-pytorch": ("lucidrains_unet.py", ""),
    "DDIM's and DDPM's own code": ("ddim_model.py", "--set schedule=linear"),
    "score_sde": ("", ""),
    "U-ViT": ("", ""),
}
# How one of these becomes a file of weights alone, and how that is imported.
EXPORT = (
    "where you trust it, in the folder of the authors' code: ema = pickle.load(open(PATH, 'rb'))"
    "['ema'], then torch.save(ema.state_dict(), 'weights.pt'), and bench import weights.pt"
)
INSTEAD = (
    "bench loads networks of diffusers and of ADM: take a checkpoint of one of these, for example "
    "hf:google/ddpm-cifar10-32, or convert this one to a UNet2DModel that predicts epsilon at "
    "integer timesteps"
)


def network(names: Iterable[str]) -> str:
    """The kind of network that has weights of these names, "" for no known one.

    The names may stand behind those of wrappers.
    """
    known = list(names)
    for title, (_, *patterns) in NETWORKS.items():
        tails = [re.compile(rf"(?:.*\.)?(?:{pattern})") for pattern in patterns]
        if all(any(tail.fullmatch(name) for name in known) for tail in tails):
            return title
    return ""


def refusal(title: str) -> str:
    """Why a network is not loaded, and what to do."""
    told = f"a network of {title}, {NETWORKS[title][0]}"
    if title not in GIVEN:
        return f"{told}: {INSTEAD}"
    example, words = GIVEN[title]
    shown = f", as docs/networks/{example} does" if example else ""
    more = f" and {words}" if words else ""
    return (
        f"{told}: name the code that builds it, --network FILE.py:FUNCTION --trust-code{more}"
        f"{shown} (docs/checkpoints.md)"
    )


def variant(weights: Mapping[str, Tensor]) -> str:
    """Why a network with ADM's names is none that is loaded; "" for one that is."""
    if any(".encoder_kv." in name or name.startswith("transformer.") for name in weights):
        return f"a network of GLIDE, {TEXT}: {INSTEAD}"
    if any(name.endswith(".qkv.weight") and value.ndim == 4 for name, value in weights.items()):
        return f"a network of OpenAI's consistency models or their EDM, {CONTINUOUS}: {INSTEAD}"
    if any(".transformer_blocks." in name for name in weights):
        return f"a network of latent-diffusion, {TEXT}: {INSTEAD}"
    entry, out = weights["input_blocks.0.0.weight"], weights["out.2.weight"]
    if entry.ndim == 4 and out.ndim == 4:
        if entry.shape[1] == 6 and len(out) in (3, 6):
            return (
                "an ADM network for super-resolution, which takes a small image beside the noise: "
                "bench samples networks that take noise alone"
            )
        return ""
    return f"a network with ADM's names for data of {entry.ndim - 2} dimensions, not for images"


def first_call(path: Path, known: Collection[str] = ()) -> str:
    """The first thing besides tensors that a plain pickle calls, by its opcodes; "" for none.

    Nothing is executed. torch's own reader names it in its own files alone.

    Args:
        path: the path of the pickle.
        known: calls that are passed over.
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
                if name and name not in known and not name.startswith(TENSORS):
                    return name
                if opcode.name == "MEMOIZE":
                    kept.append(last)
                    continue
                text = "UNICODE" in opcode.name
                if opcode.name in ("BINGET", "LONG_BINGET"):
                    index = int(value or 0)
                    text, value = True, kept[index] if index < len(kept) else None
                last = value if text else None
                strings += [last] if last else []
    # Errors on bytes that are no pickle.
    except (ValueError, IndexError, OSError):
        pass
    return ""


def pickled(call: str) -> bool:
    """Whether a pickle that calls this is one of NVIDIA's, with source code inside."""
    return call.startswith(PERSISTENT)
