"""A transformer as DiT and SiT are (Peebles and Xie 2023; Ma et al. 2024), under their names.

SiT predicts the velocity eps - x_0 of x = (1 - s) x_0 + s eps, s from 0 to 1. `sit` lets it be
sampled at timesteps of x = a x_0 + b eps: x / (a + b) is such an x, with s = b / (a + b).
"""

import torch
from torch import nn
from torch.nn.functional import scaled_dot_product_attention


class Block(nn.Module):
    def __init__(self, width, heads):
        super().__init__()
        self.heads, plain = heads, {"elementwise_affine": False, "eps": 1e-6}
        self.norm1, self.norm2 = nn.LayerNorm(width, **plain), nn.LayerNorm(width, **plain)
        qkv, proj = nn.Linear(width, 3 * width), nn.Linear(width, width)
        self.attn = nn.ModuleDict({"qkv": qkv, "proj": proj})
        fc1, fc2 = nn.Linear(width, 4 * width), nn.Linear(4 * width, width)
        self.mlp = nn.ModuleDict({"fc1": fc1, "act": nn.GELU("tanh"), "fc2": fc2})
        self.adaLN_modulation = nn.Sequential(nn.SiLU(), nn.Linear(width, 6 * width))

    def forward(self, x, c):
        a, b, gate, d, e, gate_mlp = self.adaLN_modulation(c)[:, None].chunk(6, 2)
        qkv = self.attn.qkv(self.norm1(x) * (1 + b) + a)
        q, k, v = qkv.unflatten(2, (3, self.heads, -1)).permute(2, 0, 3, 1, 4)
        h = scaled_dot_product_attention(q, k, v).transpose(1, 2).flatten(2)
        x = x + gate * self.attn.proj(h)
        h = self.mlp.act(self.mlp.fc1(self.norm2(x) * (1 + e) + d))
        return x + gate_mlp * self.mlp.fc2(h)


class SiT(nn.Module):
    def __init__(self, channels, sample_size, width, depth, heads, patch):
        super().__init__()
        self.patch, self.side, count = patch, sample_size // patch, (sample_size // patch) ** 2
        proj = nn.Conv2d(channels, width, patch, stride=patch)
        self.x_embedder = nn.ModuleDict({"proj": proj})
        self.pos_embed = nn.Parameter(torch.zeros(1, count, width))
        mlp = nn.Sequential(nn.Linear(256, width), nn.SiLU(), nn.Linear(width, width))
        self.t_embedder = nn.ModuleDict({"mlp": mlp})
        self.blocks = nn.ModuleList(Block(width, heads) for _ in range(depth))
        modulation = nn.Sequential(nn.SiLU(), nn.Linear(width, 2 * width))
        norm = nn.LayerNorm(width, elementwise_affine=False, eps=1e-6)
        linear = nn.Linear(width, patch**2 * channels)
        parts = {"norm_final": norm, "linear": linear, "adaLN_modulation": modulation}
        self.final_layer = nn.ModuleDict(parts)

    def forward(self, x, s):
        angles = s[:, None] * torch.exp(-torch.arange(128) / 128 * torch.tensor(1e4).log())
        c = self.t_embedder.mlp(torch.cat([angles.cos(), angles.sin()], 1))
        h = self.x_embedder.proj(x).flatten(2).mT + self.pos_embed
        for block in self.blocks:
            h = block(h, c)
        shift, scale = self.final_layer.adaLN_modulation(c)[:, None].chunk(2, 2)
        h = self.final_layer.linear(self.final_layer.norm_final(h) * (1 + scale) + shift)
        h = h.unflatten(1, (self.side, -1)).unflatten(3, (self.patch, self.patch, -1))
        return h.permute(0, 5, 1, 3, 2, 4).flatten(4, 5).flatten(2, 3)


def sit(channels=3, sample_size=32, width=384, depth=12, heads=6, patch=2, timesteps=1000):
    angle = (torch.arange(1, timesteps + 1) / timesteps + 0.008) / 1.008 * torch.pi / 2
    a = angle.cos() / 0.99992  # of the card's schedule, which is the cosine one
    b = (1 - a**2).clamp(min=0).sqrt()

    def x_0(network, x, t):
        total, s = (a + b)[t, None, None, None], (b / (a + b))[t]
        x = x / total
        return x - s[:, None, None, None] * network(x, s)

    return SiT(channels, sample_size, width, depth, heads, patch), x_0
