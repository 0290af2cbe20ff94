"""A transformer as DiT and SiT (Peebles and Xie 2023; Ma et al. 2024), under the names of its
weights. SiT's time t runs from noise to images, and its velocity is x_0 - eps:
--set "levels={kind: flow, told: reversed_time}" --set predicts=velocity
"""

import torch
from torch import nn
from torch.nn.functional import scaled_dot_product_attention


def norm(width):
    return nn.LayerNorm(width, elementwise_affine=False, eps=1e-6)


def modulation(width, count):
    return nn.Sequential(nn.SiLU(), nn.Linear(width, count * width))


class Block(nn.Module):
    def __init__(self, width, heads):
        super().__init__()
        self.heads, self.norm1, self.norm2 = heads, norm(width), norm(width)
        qkv, proj = nn.Linear(width, 3 * width), nn.Linear(width, width)
        self.attn = nn.ModuleDict({"qkv": qkv, "proj": proj})
        fc1, fc2 = nn.Linear(width, 4 * width), nn.Linear(4 * width, width)
        self.mlp = nn.ModuleDict({"fc1": fc1, "act": nn.GELU("tanh"), "fc2": fc2})
        self.adaLN_modulation = modulation(width, 6)

    def forward(self, x, c):
        shift, scale, gate, shift_mlp, scale_mlp, gate_mlp = self.adaLN_modulation(c)[
            :, None
        ].chunk(6, 2)
        qkv = self.attn.qkv(self.norm1(x) * (1 + scale) + shift)
        q, k, v = qkv.unflatten(2, (3, self.heads, -1)).permute(2, 0, 3, 1, 4)
        h = scaled_dot_product_attention(q, k, v).transpose(1, 2).flatten(2)
        x = x + gate * self.attn.proj(h)
        h = self.mlp.fc1(self.norm2(x) * (1 + scale_mlp) + shift_mlp)
        return x + gate_mlp * self.mlp.fc2(self.mlp.act(h))


class SiT(nn.Module):
    def __init__(self, channels, sample_size, width, depth, heads, patch, classes, outputs):
        super().__init__()
        self.patch, self.side = patch, sample_size // patch
        proj = nn.Conv2d(channels, width, patch, stride=patch)
        self.x_embedder = nn.ModuleDict({"proj": proj})
        self.pos_embed = nn.Parameter(torch.zeros(1, self.side**2, width))
        mlp = nn.Sequential(nn.Linear(256, width), nn.SiLU(), nn.Linear(width, width))
        self.t_embedder = nn.ModuleDict({"mlp": mlp})
        table = nn.Embedding(classes + 1, width)
        self.y_embedder = nn.ModuleDict({"embedding_table": table} if classes else {})
        self.blocks = nn.ModuleList(Block(width, heads) for _ in range(depth))
        linear = nn.Linear(width, patch**2 * outputs)
        parts = {"norm_final": norm(width), "linear": linear}
        self.final_layer = nn.ModuleDict({**parts, "adaLN_modulation": modulation(width, 2)})

    def forward(self, x, t, y=None):
        angles = t[:, None] * torch.exp(-torch.arange(128) / 128 * torch.tensor(1e4).log())
        c = self.t_embedder.mlp(torch.cat([angles.cos(), angles.sin()], 1))
        c = c if y is None else c + self.y_embedder.embedding_table(y)
        h = self.x_embedder.proj(x).flatten(2).mT + self.pos_embed
        for block in self.blocks:
            h = block(h, c)
        shift, scale = self.final_layer.adaLN_modulation(c)[:, None].chunk(2, 2)
        h = self.final_layer.linear(self.final_layer.norm_final(h) * (1 + scale) + shift)
        h = h.unflatten(1, (self.side, -1)).unflatten(3, (self.patch, self.patch, -1))
        return h.permute(0, 5, 1, 3, 2, 4).flatten(4, 5).flatten(2, 3)[:, : x.shape[1]]


def sit(channels=3, sample_size=32, width=384, depth=12, heads=6, patch=2, classes=0, twice=False):
    outputs = 2 * channels if twice else channels  # SiT's own files have twice, half of no use
    return SiT(channels, sample_size, width, depth, heads, patch, classes, outputs)
