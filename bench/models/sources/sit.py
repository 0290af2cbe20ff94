"""Source `sit`: state dicts of SiT's and DiT's transformers under their authors' names.

Both are one network (Peebles and Xie 2023; Ma et al. 2024). The weights tell widths, depth, patch,
size of the images, labels and the channels that are given. They do not tell

    num_heads    but of the published sizes S, B, L and XL, which width and depth tell;
    classes      the label behind them stands for none, unless classes is the number of all labels;
    the noise    SiT's flow, whose time runs from noise to images: levels: {kind: flow, told:
                 reversed_time} and predicts: velocity; DiT's timesteps: schedule: linear.

Of a SiT that gives twice its channels the second half is of no use, as in its authors' code; at
the timesteps of a DiT it is the learned variance.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.functional import scaled_dot_product_attention

from bench.core.cell import Checkpoint
from bench.core.denoiser import Denoiser
from bench.core.errors import InputError
from bench.models.sources import authors, layer_names

# Heads by (width, depth), of both papers (tables 1).
HEADS = {(384, 12): 6, (768, 12): 12, (1024, 24): 16, (1152, 28): 16}
LONGEST_PERIOD = 10_000.0


class Modulated(nn.Module):
    """A normalization without weights, times 1 + scale plus shift."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.norm = nn.LayerNorm(width, elementwise_affine=False, eps=1e-6)

    def forward(self, x: Tensor, shift: Tensor, scale: Tensor) -> Tensor:
        """Of tokens (B, N, D) with shift and scale (B, 1, D)."""
        made: Tensor = self.norm(x) * (1 + scale) + shift
        return made


class Block(nn.Module):
    """Attention and a perceptron, both modulated by the embedding (adaLN-Zero)."""

    def __init__(self, width: int, inner: int, heads: int) -> None:
        super().__init__()
        self.heads = heads
        self.norm1, self.norm2 = Modulated(width), Modulated(width)
        qkv, proj = nn.Linear(width, 3 * width), nn.Linear(width, width)
        self.attn = nn.ModuleDict({"qkv": qkv, "proj": proj})
        fc1, fc2 = nn.Linear(width, inner), nn.Linear(inner, width)
        self.mlp = nn.ModuleDict({"fc1": fc1, "act": nn.GELU("tanh"), "fc2": fc2})
        self.adaLN_modulation = nn.Sequential(nn.SiLU(), nn.Linear(width, 6 * width))

    def forward(self, x: Tensor, c: Tensor) -> Tensor:
        """Of tokens x (B, N, D) and the embedding c (B, D)."""
        shift, scale, gate, *second = self.adaLN_modulation(c)[:, None].chunk(6, 2)
        qkv = self.attn["qkv"](self.norm1(x, shift, scale))
        q, k, v = qkv.unflatten(2, (3, self.heads, -1)).permute(2, 0, 3, 1, 4)
        h = scaled_dot_product_attention(q, k, v).transpose(1, 2).flatten(2)
        x = x + gate * self.attn["proj"](h)
        h = self.mlp["fc1"](self.norm2(x, *second[:2]))
        made: Tensor = x + second[2] * self.mlp["fc2"](self.mlp["act"](h))
        return made


class Transformer(nn.Module):
    """The whole network.

    Args:
        sizes: as `read` finds them.
        heads: of each attention.
    """

    def __init__(self, sizes: Mapping[str, int], heads: int) -> None:
        super().__init__()
        width, patch = sizes["width"], sizes["patch"]
        self.patch, self.side, self.waves = patch, sizes["side"], sizes["waves"]
        proj = nn.Conv2d(sizes["channels"], width, patch, stride=patch)
        self.x_embedder = nn.ModuleDict({"proj": proj})
        self.pos_embed = nn.Parameter(torch.zeros(1, self.side**2, width))
        first, second = nn.Linear(self.waves, width), nn.Linear(width, width)
        self.t_embedder = nn.ModuleDict({"mlp": nn.Sequential(first, nn.SiLU(), second)})
        self.y_embedder = nn.ModuleDict()
        if sizes["labels"]:
            self.y_embedder["embedding_table"] = nn.Embedding(sizes["labels"], width)
        blocks = (Block(width, sizes["inner"], heads) for _ in range(sizes["depth"]))
        self.blocks = nn.ModuleList(blocks)
        self.final_layer = nn.ModuleDict(
            {
                "norm_final": Modulated(width),
                "linear": nn.Linear(width, patch**2 * sizes["outputs"]),
                "adaLN_modulation": nn.Sequential(nn.SiLU(), nn.Linear(width, 2 * width)),
            }
        )

    def forward(self, x: Tensor, t: Tensor, y: Tensor | None = None) -> Tensor:
        """Of images x (B, C, H, W), what is told of the level (B,) and labels (B,)."""
        half = self.waves // 2
        frequencies = torch.exp(-math.log(LONGEST_PERIOD) / half * torch.arange(half))
        angles = t[:, None] * frequencies.to(x.device)
        c = self.t_embedder["mlp"](torch.cat([angles.cos(), angles.sin()], 1))
        if y is not None:
            c = c + self.y_embedder["embedding_table"](y)
        h = self.x_embedder["proj"](x).flatten(2).mT + self.pos_embed
        for block in self.blocks:
            h = block(h, c)
        shift, scale = self.final_layer["adaLN_modulation"](c)[:, None].chunk(2, 2)
        h = self.final_layer["linear"](self.final_layer["norm_final"](h, shift, scale))
        h = h.unflatten(1, (self.side, -1)).unflatten(3, (self.patch, self.patch, -1))
        made: Tensor = h.permute(0, 5, 1, 3, 2, 4).flatten(4, 5).flatten(2, 3)
        return made


def sizes(weights: Mapping[str, Tensor]) -> dict[str, int]:
    """The sizes that shapes tell.

    Raises:
        InputError: a weight is missing, or they contradict each other.
    """
    try:
        width, channels, patch, other = weights["x_embedder.proj.weight"].shape
        tokens = weights["pos_embed"].shape[1]
        given = len(weights["final_layer.linear.weight"])
        waves = weights["t_embedder.mlp.0.weight"].shape[1]
        inner = len(weights["blocks.0.mlp.fc1.weight"])
    except (KeyError, ValueError, IndexError) as error:
        raise InputError(f"these are not the weights of a SiT or DiT ({error})") from None
    side, outputs = math.isqrt(tokens), given // patch**2
    if patch != other or side**2 != tokens or outputs not in (channels, 2 * channels):
        raise InputError(
            f"a SiT or DiT of {tokens} patches of {patch} x {other} that gives {given} numbers "
            f"for each: its images must be square, and it must give {channels} or "
            f"{2 * channels} channels"
        )
    table = weights.get("y_embedder.embedding_table.weight")
    return {
        "width": width,
        "channels": channels,
        "patch": patch,
        "side": side,
        "outputs": outputs,
        "waves": waves,
        "inner": inner,
        "depth": len(layer_names.layers(weights, "blocks.")),
        "labels": 0 if table is None else len(table),
    }


def read(weights: Mapping[str, Tensor], own: Mapping[str, Any]) -> authors.Network:
    """The network of weights under the authors' names.

    Raises:
        InputError: they are others, or a field is missing or wrong.
    """
    found = sizes(weights)
    width, depth, labels = found["width"], found["depth"], found["labels"]
    heads = own.get("num_heads") or HEADS.get((width, depth))
    if heads is None:
        raise InputError(
            f"num_heads is missing: the weights of a SiT or DiT do not tell its heads, and "
            f"{depth} blocks of {width} are no published size (--set num_heads=N)"
        )
    if width % heads:
        raise InputError(f"num_heads {heads} does not divide {width} channels")
    classes = own.get("classes") or max(labels - 1, 0)
    if labels and classes not in (labels - 1, labels):
        raise InputError(f"classes must be {labels - 1} or {labels}, as there are {labels} labels")
    if classes and not labels:
        raise InputError("classes: this SiT or DiT has no labels")
    null = classes if 0 < classes < labels else None
    size = found["side"] * found["patch"]
    told = f"{classes} classes" + (" and a label for none" if null else "")
    title = (
        f"a SiT or DiT of {depth} blocks of {width}, {heads} heads, patches of {found['patch']}, "
        f"{told if labels else 'without classes'}"
    )
    return authors.Network(
        module=Transformer(found, heads),
        weights=weights,
        shape=(found["channels"], size, size),
        outputs=found["outputs"],
        title=title,
        classes=classes,
        null_label=null,
    )


AUTHOR = authors.Author(
    title="SiT and DiT",
    read=read,
    fields={
        "num_heads": "the number of heads, from 1",
        "classes": "the number of classes, from 1",
    },
    asks=(
        "SiT's and DiT's weights do not tell at which noise they were trained: of a SiT "
        "{set}levels='{{kind: flow, told: reversed_time}}' and predicts=velocity, of a DiT "
        "{set}schedule=linear"
    ),
)
# The check of descriptions compares the card's values with these.
ALTERNATIVES: Mapping[str, Any] = {
    "num_heads": lambda config: [
        n for n in (2 * config.get("num_heads", 0), config.get("num_heads", 0) // 2) if n > 0
    ],
}


# Every field of the config; any other is refused.
FIELDS = (*authors.SHARED, *AUTHOR.fields)


def load(checkpoint: Checkpoint) -> Denoiser:
    """Load a checkpoint strictly, as `bench.models.sources.authors.load` does."""
    return authors.load(checkpoint, AUTHOR)
