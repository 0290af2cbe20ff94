"""ADM's network from its description, in plain functions on a state dict, to test the map.

Written from the papers (Nichol and Dhariwal 2021; Dhariwal and Nichol 2021, appendix) and not from
any code: SiLU, group norm of 32 groups, residual blocks with or without scale-shift, attention
over pixels in both orders, changes of resolution by residual blocks or by convolutions.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn import functional


@dataclass(frozen=True)
class Flags:
    """The flags of a training that decide the network."""

    size: int = 32
    channels: int = 32
    multiples: tuple[int, ...] = (1, 2, 2, 2)
    blocks: int = 3
    attention: tuple[int, ...] = (16, 8)
    head: int = 32
    new_order: bool = True
    learn_sigma: bool = True
    scale_shift: bool = True
    resblock_updown: bool = True
    classes: int = 0
    # num_heads of the training, in place of `head`; diffusion_steps; rescale_timesteps.
    heads: int = 0
    steps: int = 1000
    rescale: bool = False


class Writer:
    """Random weights under ADM's names; without a seed only their shapes, on "meta"."""

    def __init__(self, seed: int | None) -> None:
        self.state: dict[str, Tensor] = {}
        self.generator = None if seed is None else torch.Generator().manual_seed(seed)

    def random(self, *shape: int) -> Tensor:
        if self.generator is None:
            return torch.empty(shape, device="meta")
        return torch.randn(shape, generator=self.generator)

    def layer(self, name: str, outputs: int, inputs: int, *kernel: int) -> None:
        shape = (outputs, inputs, *kernel)
        spread = 1 / math.sqrt(inputs * math.prod(kernel))
        self.state[f"{name}.weight"] = spread * self.random(*shape)
        self.state[f"{name}.bias"] = 0.1 * self.random(outputs)

    def norm(self, name: str, channels: int) -> None:
        noise = self.random(2, channels)
        self.state[f"{name}.weight"], self.state[f"{name}.bias"] = (
            1 + 0.1 * noise[0],
            0.1 * noise[1],
        )

    def residual(self, name: str, inputs: int, outputs: int, embedding: int, flags: Flags) -> None:
        self.norm(f"{name}.in_layers.0", inputs)
        self.layer(f"{name}.in_layers.2", outputs, inputs, 3, 3)
        self.layer(f"{name}.emb_layers.1", outputs * (2 if flags.scale_shift else 1), embedding)
        self.norm(f"{name}.out_layers.0", outputs)
        self.layer(f"{name}.out_layers.3", outputs, outputs, 3, 3)
        if inputs != outputs:
            self.layer(f"{name}.skip_connection", outputs, inputs, 1, 1)

    def attention(self, name: str, channels: int) -> None:
        self.norm(f"{name}.norm", channels)
        self.layer(f"{name}.qkv", 3 * channels, channels, 1)
        self.layer(f"{name}.proj_out", channels, channels, 1)


def weights(flags: Flags, seed: int | None = 0) -> dict[str, Tensor]:  # noqa: PLR0915
    """A random state dict of the network that the flags describe."""
    writer, width = Writer(seed), flags.channels
    embedding = 4 * width
    writer.layer("time_embed.0", embedding, width)
    writer.layer("time_embed.2", embedding, embedding)
    if flags.classes:
        writer.layer("label_emb", flags.classes, embedding)
        del writer.state["label_emb.bias"]
    writer.layer("input_blocks.0.0", width, 3, 3, 3)
    kept, k, resolution, last = [width], 1, flags.size, len(flags.multiples) - 1
    for level, multiple in enumerate(flags.multiples):
        for _ in range(flags.blocks):
            writer.residual(
                f"input_blocks.{k}.0", width, multiple * flags.channels, embedding, flags
            )
            width = multiple * flags.channels
            if resolution in flags.attention:
                writer.attention(f"input_blocks.{k}.1", width)
            kept.append(width)
            k += 1
        if level < last:
            if flags.resblock_updown:
                writer.residual(f"input_blocks.{k}.0", width, width, embedding, flags)
            else:
                writer.layer(f"input_blocks.{k}.0.op", width, width, 3, 3)
            kept.append(width)
            k, resolution = k + 1, resolution // 2
    writer.residual("middle_block.0", width, width, embedding, flags)
    writer.attention("middle_block.1", width)
    writer.residual("middle_block.2", width, width, embedding, flags)
    k = 0
    for level in range(last, -1, -1):
        for index in range(flags.blocks + 1):
            outputs, part = flags.multiples[level] * flags.channels, 1
            writer.residual(f"output_blocks.{k}.0", width + kept.pop(), outputs, embedding, flags)
            width = outputs
            if resolution in flags.attention:
                writer.attention(f"output_blocks.{k}.1", width)
                part = 2
            if level and index == flags.blocks:
                if flags.resblock_updown:
                    writer.residual(f"output_blocks.{k}.{part}", width, width, embedding, flags)
                else:
                    writer.layer(f"output_blocks.{k}.{part}.conv", width, width, 3, 3)
                resolution *= 2
            k += 1
    writer.norm("out.0", width)
    writer.layer("out.2", 6 if flags.learn_sigma else 3, width, 3, 3)
    return writer.state


class Reference:
    """The network: (x, t, labels) -> prediction."""

    def __init__(self, state: dict[str, Tensor], flags: Flags) -> None:
        self.state, self.flags = state, flags

    def __call__(self, x: Tensor, t: Tensor, labels: Tensor | None = None) -> Tensor:
        half = self.flags.channels // 2
        if self.flags.rescale:
            t = t.float() * (1000.0 / self.flags.steps)
        frequencies = torch.exp(-math.log(10_000) * torch.arange(half) / half)
        angles = t[:, None].float() * frequencies
        emb = torch.cat([angles.cos(), angles.sin()], 1)
        emb = self.linear("time_embed.2", functional.silu(self.linear("time_embed.0", emb)))
        if labels is not None:
            emb = emb + self.state["label_emb.weight"][labels]
        kept = []
        for k in range(self.count("input_blocks")):
            x = self.block(f"input_blocks.{k}", x, emb)
            kept.append(x)
        x = self.residual("middle_block.0", x, emb)
        x = self.attend("middle_block.1", x)
        x = self.residual("middle_block.2", x, emb)
        for k in range(self.count("output_blocks")):
            x = self.block(f"output_blocks.{k}", torch.cat([x, kept.pop()], 1), emb)
        return self.conv("out.2", functional.silu(self.norm("out.0", x)))

    def count(self, side: str) -> int:
        return 1 + max(int(name.split(".")[1]) for name in self.state if name.startswith(side))

    def has(self, name: str) -> bool:
        return f"{name}.weight" in self.state

    def block(self, name: str, x: Tensor, emb: Tensor) -> Tensor:
        if name == "input_blocks.0":
            return self.conv(f"{name}.0", x)
        if self.has(f"{name}.0.op"):
            return self.conv(f"{name}.0.op", x, stride=2)
        change = 0
        if name.startswith("input") and self.flags.resblock_updown:
            change = -1 if int(name.split(".")[1]) % (self.flags.blocks + 1) == 0 else 0
        x = self.residual(f"{name}.0", x, emb, change)
        for part in (1, 2):
            if self.has(f"{name}.{part}.qkv"):
                x = self.attend(f"{name}.{part}", x)
            elif self.has(f"{name}.{part}.in_layers.0"):
                x = self.residual(f"{name}.{part}", x, emb, change=1)
            elif self.has(f"{name}.{part}.conv"):
                x = self.conv(f"{name}.{part}.conv", double(x))
        return x

    def residual(self, name: str, x: Tensor, emb: Tensor, change: int = 0) -> Tensor:
        """`change` is 1 for twice the resolution, -1 for half."""
        h = functional.silu(self.norm(f"{name}.in_layers.0", x))
        if change:
            h, x = (double(h), double(x)) if change > 0 else (halve(h), halve(x))
        h = self.conv(f"{name}.in_layers.2", h)
        emb = self.linear(f"{name}.emb_layers.1", functional.silu(emb))[:, :, None, None]
        if self.flags.scale_shift:
            scale, shift = emb.chunk(2, 1)
            h = self.norm(f"{name}.out_layers.0", h) * (1 + scale) + shift
        else:
            h = self.norm(f"{name}.out_layers.0", h + emb)
        h = self.conv(f"{name}.out_layers.3", functional.silu(h))
        return h + (
            self.conv(f"{name}.skip_connection", x) if self.has(f"{name}.skip_connection") else x
        )

    def attend(self, name: str, x: Tensor) -> Tensor:
        batch, channels, height, width = x.shape
        heads = self.flags.heads or channels // self.flags.head
        head = channels // heads
        rows = self.norm(f"{name}.norm", x).flatten(2)
        rows = torch.einsum("oc,bcl->bol", self.state[f"{name}.qkv.weight"][..., 0], rows)
        rows = rows + self.state[f"{name}.qkv.bias"][:, None]
        if self.flags.new_order:
            q, k, v = rows.view(batch, 3, heads, head, -1).unbind(1)
        else:
            q, k, v = rows.view(batch, heads, 3, head, -1).unbind(2)
        likeness = torch.einsum("bhcs,bhct->bhst", q, k) / math.sqrt(head)
        mixed = torch.einsum("bhst,bhct->bhcs", likeness.softmax(-1), v).reshape(
            batch, channels, -1
        )
        mixed = torch.einsum("oc,bcl->bol", self.state[f"{name}.proj_out.weight"][..., 0], mixed)
        mixed = mixed + self.state[f"{name}.proj_out.bias"][:, None]
        return x + mixed.view(batch, channels, height, width)

    def norm(self, name: str, x: Tensor) -> Tensor:
        groups = x.view(len(x), 32, -1)
        centred = groups - groups.mean(2, keepdim=True)
        unit = centred / torch.sqrt(centred.square().mean(2, keepdim=True) + 1e-5)
        shape = (1, -1, *(1,) * (x.ndim - 2))
        return unit.view_as(x) * self.state[f"{name}.weight"].view(shape) + self.state[
            f"{name}.bias"
        ].view(shape)

    def conv(self, name: str, x: Tensor, stride: int = 1) -> Tensor:
        weight = self.state[f"{name}.weight"]
        padding = weight.shape[-1] // 2
        return functional.conv2d(x, weight, self.state[f"{name}.bias"], stride, padding)

    def linear(self, name: str, x: Tensor) -> Tensor:
        return x @ self.state[f"{name}.weight"].T + self.state[f"{name}.bias"]


def double(x: Tensor) -> Tensor:
    return x.repeat_interleave(2, 2).repeat_interleave(2, 3)


def halve(x: Tensor) -> Tensor:
    batch, channels, height, width = x.shape
    return x.view(batch, channels, height // 2, 2, width // 2, 2).mean((3, 5))
