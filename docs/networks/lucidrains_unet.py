"""The U-Net of lucidrains' denoising-diffusion-pytorch 2.x, under the names of its weights."""

from itertools import pairwise

import torch
from torch import nn
from torch.nn.functional import normalize, pixel_unshuffle, scaled_dot_product_attention, silu


class Norm(nn.Module):
    def __init__(self, width):
        super().__init__()
        self.g = nn.Parameter(torch.ones(1, width, 1, 1))

    def forward(self, x):
        return normalize(x, dim=1) * self.g * x.shape[1] ** 0.5


def block(inputs, width):
    return nn.ModuleDict({"proj": nn.Conv2d(inputs, width, 3, padding=1), "norm": Norm(width)})


class Residual(nn.Module):
    def __init__(self, inputs, width, time):
        super().__init__()
        self.mlp = nn.Sequential(nn.SiLU(), nn.Linear(time, 2 * width))
        self.block1, self.block2 = block(inputs, width), block(width, width)
        self.res_conv = nn.Conv2d(inputs, width, 1) if inputs != width else nn.Identity()

    def forward(self, x, time):
        scale, shift = self.mlp(time)[:, :, None, None].chunk(2, 1)
        h = silu(self.block1.norm(self.block1.proj(x)) * (scale + 1) + shift)
        return silu(self.block2.norm(self.block2.proj(h))) + self.res_conv(x)


class Attention(nn.Module):
    def __init__(self, width, full, heads=4, depth=32):
        super().__init__()
        self.full, self.heads, inner = full, heads, heads * depth
        self.norm, self.to_qkv = Norm(width), nn.Conv2d(width, 3 * inner, 1, bias=False)
        self.mem_kv = nn.Parameter(torch.randn(2, heads, *((4, depth) if full else (depth, 4))))
        out = nn.Conv2d(inner, width, 1)
        self.to_out = out if full else nn.Sequential(out, Norm(width))

    def forward(self, x):
        q, k, v = self.to_qkv(self.norm(x)).unflatten(1, (3, self.heads, -1)).flatten(4).unbind(1)
        memory = self.mem_kv[:, None].expand(-1, len(x), -1, -1, -1)
        if self.full:
            k, v = (torch.cat([m, y.mT], 2) for m, y in zip(memory, (k, v), strict=True))
            h = scaled_dot_product_attention(q.mT, k, v).mT
        else:
            k, v = (torch.cat([m, y], 3) for m, y in zip(memory, (k, v), strict=True))
            h = (k.softmax(3) @ v.mT).mT @ (q.softmax(2) * q.shape[2] ** -0.5)
        return x + self.to_out(h.reshape(len(x), -1, *x.shape[2:]))


class Unet(nn.Module):
    def __init__(self, channels=3, dim=64, dim_mults=(1, 2, 4, 8)):
        super().__init__()
        time, widths, last = 4 * dim, [dim, *(dim * m for m in dim_mults)], len(dim_mults) - 1
        ends = nn.Linear(dim, time), nn.GELU(), nn.Linear(time, time)
        self.dim, self.time_mlp = dim, nn.Sequential(nn.Identity(), *ends)
        self.init_conv = nn.Conv2d(channels, dim, 7, padding=3)
        self.downs, self.ups = nn.ModuleList(), nn.ModuleList()
        for i, (a, b) in enumerate(pairwise(widths)):
            blocks = Residual(a, a, time), Residual(a, a, time), Attention(a, i == last)
            down = nn.Sequential(nn.Identity(), nn.Conv2d(4 * a, b, 1))
            self.downs.append(nn.ModuleList([*blocks, down if i < last else conv(a, b)]))
            blocks = Residual(a + b, b, time), Residual(a + b, b, time), Attention(b, i == last)
            up = nn.Sequential(nn.Upsample(scale_factor=2), conv(b, a))
            self.ups.insert(0, nn.ModuleList([*blocks, up if i else conv(b, a)]))
        self.mid_block1, self.mid_block2 = Residual(b, b, time), Residual(b, b, time)
        self.mid_attn, self.final_res_block = Attention(b, True), Residual(2 * dim, dim, time)
        self.final_conv = nn.Conv2d(dim, channels, 1)

    def forward(self, x, t):
        half = self.dim // 2
        angles = t[:, None] * torch.exp(-torch.arange(half) / (half - 1) * torch.tensor(1e4).log())
        time = self.time_mlp(torch.cat([angles.sin(), angles.cos()], 1))
        x, hs = self.init_conv(x), []
        first = x
        for one, two, attention, down in self.downs:
            hs.append(one(x, time))
            hs.append(attention(two(hs[-1], time)))
            x = down(pixel_unshuffle(hs[-1], 2) if isinstance(down, nn.Sequential) else hs[-1])
        x = self.mid_block2(self.mid_attn(self.mid_block1(x, time)), time)
        for one, two, attention, up in self.ups:
            x = one(torch.cat([x, hs.pop()], 1), time)
            x = up(attention(two(torch.cat([x, hs.pop()], 1), time)))
        return self.final_conv(self.final_res_block(torch.cat([x, first], 1), time))


def conv(inputs, width):
    return nn.Conv2d(inputs, width, 3, padding=1)
