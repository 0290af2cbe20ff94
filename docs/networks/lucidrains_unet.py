"""The U-Net of lucidrains' denoising-diffusion-pytorch 2.x, under the names of its weights."""

from itertools import pairwise

import torch
from torch.nn import (
    GELU,
    Conv2d,
    Identity,
    Linear,
    Module,
    ModuleDict,
    ModuleList,
    Parameter,
    PixelUnshuffle,
    Sequential,
    SiLU,
    Upsample,
)
from torch.nn.functional import normalize, silu
from torch.nn.functional import scaled_dot_product_attention as attention


class Norm(Module):
    def __init__(self, width):
        super().__init__()
        self.g = Parameter(torch.ones(1, width, 1, 1))

    def forward(self, x):
        return normalize(x, dim=1) * self.g * x.shape[1] ** 0.5


def block(inputs, width):
    return ModuleDict({"proj": Conv2d(inputs, width, 3, padding=1), "norm": Norm(width)})


class Resnet(ModuleDict):
    def __init__(self, inputs, width, emb):
        super().__init__({"mlp": Sequential(SiLU(), Linear(emb, 2 * width))})
        self.block1, self.block2 = block(inputs, width), block(width, width)
        self.res_conv = Conv2d(inputs, width, 1) if inputs != width else Identity()

    def forward(self, x, emb):
        scale, shift = self.mlp(emb)[:, :, None, None].chunk(2, 1)
        h = silu(self.block1.norm(self.block1.proj(x)) * (scale + 1) + shift)
        return silu(self.block2.norm(self.block2.proj(h))) + self.res_conv(x)


class Attention(ModuleDict):
    def __init__(self, width, full):
        super().__init__({"norm": Norm(width), "to_qkv": Conv2d(width, 384, 1, bias=False)})
        self.mem_kv = Parameter(torch.randn(2, 4, *((4, 32) if full else (32, 4))))
        self.full, out = full, Conv2d(128, width, 1)  # of 4 heads of 32 channels
        self.to_out = out if full else Sequential(out, Norm(width))

    def forward(self, x):
        q, *kv = self.to_qkv(self.norm(x)).unflatten(1, (3, 4, 32)).flatten(4).mT.unbind(1)
        memory = (self.mem_kv if self.full else self.mem_kv.mT).unsqueeze(1)
        k, v = torch.cat([memory.expand(-1, len(x), -1, -1, -1), torch.stack(kv)], 3)
        h = attention(q, k, v) if self.full else q.softmax(3) / 32**0.5 @ (k.softmax(2).mT @ v)
        return x + self.to_out(h.mT.reshape(len(x), -1, *x.shape[2:]))


def stage(inputs, width, emb, full, *change):
    blocks = (Resnet(inputs, width, emb) for _ in range(2))
    return ModuleList([*blocks, Attention(width, full), *change])


class Unet(Module):
    def __init__(self, channels=3, dim=64, dim_mults=(1, 2, 4, 8)):
        super().__init__()
        self.dim, emb, widths = dim, 4 * dim, [dim, *(dim * m for m in dim_mults)]
        self.time_mlp = Sequential(Identity(), Linear(dim, emb), GELU(), Linear(emb, emb))
        self.init_conv = Conv2d(channels, dim, 7, padding=3)
        self.downs, self.ups = ModuleList(), ModuleList()
        for below, (a, b) in zip(reversed(range(len(dim_mults))), pairwise(widths), strict=True):
            down, up = Conv2d(a, b, 3, padding=1), Conv2d(b, a, 3, padding=1)
            down = Sequential(PixelUnshuffle(2), Conv2d(4 * a, b, 1)) if below else down
            up = Sequential(Upsample(scale_factor=2), up) if len(self.ups) else up
            self.downs.append(stage(a, a, emb, not below, down))
            self.ups.insert(0, stage(a + b, b, emb, not below, up))
        self.mid_block1, self.mid_block2, self.mid_attn = stage(b, b, emb, True)
        self.final_res_block, self.final_conv = Resnet(2 * dim, dim, emb), Conv2d(dim, channels, 1)

    def forward(self, x, t):
        angles = t[:, None] * 1e4 ** -torch.linspace(0, 1, self.dim // 2)
        emb = self.time_mlp(torch.cat([angles.sin(), angles.cos()], 1))
        hs = [x := self.init_conv(x)]
        for one, two, attend, down in self.downs:
            hs += [h := one(x, emb), attend(two(h, emb))]
            x = down(hs[-1])
        x = self.mid_block2(self.mid_attn(self.mid_block1(x, emb)), emb)
        for one, two, attend, up in self.ups:
            x = one(torch.cat([x, hs.pop()], 1), emb)
            x = up(attend(two(torch.cat([x, hs.pop()], 1), emb)))
        return self.final_conv(self.final_res_block(torch.cat([x, hs.pop()], 1), emb))
