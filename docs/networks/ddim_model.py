"""DDPM's and DDIM's own U-Net (Ho et al. 2020), `Model`, under the names of its weights."""

import torch
from torch import nn
from torch.nn.functional import interpolate, pad, scaled_dot_product_attention, silu


def norm(channels):
    return nn.GroupNorm(min(32, channels // 2), channels, eps=1e-6)


class Block(nn.Module):
    def __init__(self, inputs, outputs, time):
        super().__init__()
        self.norm1, self.conv1 = norm(inputs), nn.Conv2d(inputs, outputs, 3, padding=1)
        self.temb_proj = nn.Linear(time, outputs)
        self.norm2, self.conv2 = norm(outputs), nn.Conv2d(outputs, outputs, 3, padding=1)
        self.nin_shortcut = nn.Conv2d(inputs, outputs, 1) if inputs != outputs else nn.Identity()

    def forward(self, x, time):
        h = self.conv1(silu(self.norm1(x))) + self.temb_proj(silu(time))[:, :, None, None]
        return self.nin_shortcut(x) + self.conv2(silu(self.norm2(h)))


class Attention(nn.Module):
    def __init__(self, channels):
        super().__init__()
        self.norm = norm(channels)
        self.q, self.k, self.v, self.proj_out = (nn.Conv2d(channels, channels, 1) for _ in "qkvo")

    def forward(self, x):
        q, k, v = (f(self.norm(x)).flatten(2).transpose(1, 2) for f in (self.q, self.k, self.v))
        return x + self.proj_out(scaled_dot_product_attention(q, k, v).mT.reshape(x.shape))


def level(pairs, time, attends, **change):
    blocks = nn.ModuleList(Block(*pair, time) for pair in pairs)
    attention = Attention if attends else nn.Identity
    parts = {"block": blocks, "attn": nn.ModuleList(attention(outputs) for _, outputs in pairs)}
    return nn.ModuleDict(parts | {k: nn.ModuleDict({"conv": v}) for k, v in change.items() if v})


class Model(nn.Module):
    def __init__(self, channels=3, sample_size=32, ch=128, mult=(1, 2, 2, 2), blocks=2, at=(16,)):
        super().__init__()
        self.ch, time, levels, skips = ch, 4 * ch, [*enumerate(ch * m for m in mult)], [ch]
        dense = nn.ModuleList([nn.Linear(ch, time), nn.Linear(time, time)])
        self.temb, self.conv_in = nn.ModuleDict({"dense": dense}), nn.Conv2d(channels, ch, 3, 1, 1)
        self.down, self.mid, self.up = nn.ModuleList(), nn.ModuleDict(), nn.ModuleList()
        for i, width in levels:
            pairs = [(skips[-1], width), *[(width, width)] * (blocks - 1)]
            conv = nn.Conv2d(width, width, 3, stride=2) if i < len(mult) - 1 else None
            self.down.append(level(pairs, time, sample_size >> i in at, downsample=conv))
            skips += [width] * (blocks + (conv is not None))
        self.mid["block_1"], self.mid["attn_1"] = Block(width, width, time), Attention(width)
        self.mid["block_2"], now = Block(width, width, time), width
        for i, width in reversed(levels):
            pairs = [((width if j else now) + skips.pop(), width) for j in range(blocks + 1)]
            conv, now = nn.Conv2d(width, width, 3, padding=1) if i else None, width
            self.up.insert(0, level(pairs, time, sample_size >> i in at, upsample=conv))
        self.norm_out, self.conv_out = norm(ch), nn.Conv2d(ch, channels, 3, padding=1)

    def forward(self, x, t):
        angles = t[:, None] * 1e4 ** -torch.linspace(0, 1, self.ch // 2)
        time = self.temb.dense[0](torch.cat([angles.sin(), angles.cos()], 1))
        time, hs = self.temb.dense[1](silu(time)), [self.conv_in(x)]
        for level in self.down:
            for block, attend in zip(level.block, level.attn, strict=True):
                hs.append(attend(block(hs[-1], time)))
            if "downsample" in level:
                hs.append(level.downsample.conv(pad(hs[-1], (0, 1, 0, 1))))
        h = self.mid.block_2(self.mid.attn_1(self.mid.block_1(hs[-1], time)), time)
        for level in reversed(self.up):
            for block, attend in zip(level.block, level.attn, strict=True):
                h = attend(block(torch.cat([h, hs.pop()], 1), time))
            h = level.upsample.conv(interpolate(h, scale_factor=2.0)) if "upsample" in level else h
        return self.conv_out(silu(self.norm_out(h)))
