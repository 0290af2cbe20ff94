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


class Model(nn.Module):
    def __init__(self, channels=3, sample_size=32, ch=128, mult=(1, 2, 2, 2), blocks=2, at=(16,)):
        super().__init__()
        self.ch, self.blocks, time, last = ch, blocks, 4 * ch, len(mult) - 1
        dense = nn.ModuleList([nn.Linear(ch, time), nn.Linear(time, time)])
        self.temb, self.conv_in = nn.ModuleDict({"dense": dense}), nn.Conv2d(channels, ch, 3, 1, 1)

        def level(pairs, size, **more):
            block = nn.ModuleList(Block(*pair, time) for pair in pairs)
            attn = nn.ModuleList(Attention(b) for _, b in pairs if size in at)
            more = {k: nn.ModuleDict({"conv": v}) for k, v in more.items() if v}
            return nn.ModuleDict({"block": block, "attn": attn, **more})

        self.down, self.up, now, skips = nn.ModuleList(), [], ch, [ch]
        for i, out in enumerate(ch * m for m in mult):
            pairs = [(now, out), *[(out, out)] * (blocks - 1)]
            conv = nn.Conv2d(out, out, 3, stride=2) if i < last else None
            self.down.append(level(pairs, sample_size >> i, downsample=conv))
            skips += [out] * (blocks + (i < last))
            now = out
        middle = {"block_1": Block(now, now, time), "attn_1": Attention(now)}
        self.mid = nn.ModuleDict({**middle, "block_2": Block(now, now, time)})
        for i, out in reversed(list(enumerate(ch * m for m in mult))):
            pairs = [((now if j == 0 else out) + skips.pop(), out) for j in range(blocks + 1)]
            conv = nn.Conv2d(out, out, 3, padding=1) if i else None
            self.up.insert(0, level(pairs, sample_size >> i, upsample=conv))
            now = out
        self.up = nn.ModuleList(self.up)
        self.norm_out, self.conv_out = norm(ch), nn.Conv2d(ch, channels, 3, padding=1)

    def forward(self, x, t):
        half = self.ch // 2
        angles = t[:, None] * torch.exp(-torch.arange(half) / (half - 1) * torch.tensor(1e4).log())
        time = self.temb.dense[0](torch.cat([angles.sin(), angles.cos()], 1))
        time, hs = self.temb.dense[1](silu(time)), [self.conv_in(x)]
        for level in self.down:
            for j, block in enumerate(level.block):
                h = block(hs[-1], time)
                hs.append(level.attn[j](h) if len(level.attn) else h)
            if "downsample" in level:
                hs.append(level.downsample.conv(pad(hs[-1], (0, 1, 0, 1))))
        h = self.mid.attn_1(self.mid.block_1(hs[-1], time))
        h = self.mid.block_2(h, time)
        for level in reversed(self.up):
            for j, block in enumerate(level.block):
                h = block(torch.cat([h, hs.pop()], 1), time)
                h = level.attn[j](h) if len(level.attn) else h
            h = level.upsample.conv(interpolate(h, scale_factor=2.0)) if "upsample" in level else h
        return self.conv_out(silu(self.norm_out(h)))
