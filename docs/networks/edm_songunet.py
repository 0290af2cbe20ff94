"""EDM's `SongUNet` as DDPM++ (Karras et al. 2022), under the names of its weights.

EDM denoises y = x_0 + sigma eps. `edm` lets it be sampled at timesteps of x = a x_0 + b eps: x / a
is such a y, with sigma = b / a, of the linear schedule; what it gives is x_0.
"""

import torch
from torch import nn
from torch.nn.functional import avg_pool2d, interpolate, scaled_dot_product_attention, silu


def norm(width):
    return nn.GroupNorm(min(32, width // 4), width, eps=1e-6)


class Block(nn.Module):
    def __init__(self, inputs, width, time, change="", attention=False):
        super().__init__()
        self.in_channels, self.change, self.attention = inputs, change, attention
        self.norm0, self.conv0 = norm(inputs), nn.Conv2d(inputs, width, 3, padding=1)
        self.affine, self.norm1 = nn.Linear(time, width), norm(width)
        self.conv1 = nn.Conv2d(width, width, 3, padding=1)
        self.skip = nn.Conv2d(inputs, width, 1) if change or inputs != width else nn.Identity()
        for conv in (self.conv0, self.skip) if change else ():
            conv.register_buffer("resample_filter", torch.full((1, 1, 2, 2), 0.25))
        if attention:
            self.norm2, self.qkv = norm(width), nn.Conv2d(width, 3 * width, 1)
            self.proj = nn.Conv2d(width, width, 1)

    def forward(self, x, time):
        h = silu(self.norm0(x))
        if self.change:
            x, h = resampled(x, self.change), resampled(h, self.change)
        h = silu(self.norm1(self.conv0(h) + self.affine(time)[:, :, None, None]))
        x = (self.conv1(h) + self.skip(x)) * 0.5**0.5
        if self.attention:
            qkv = self.qkv(self.norm2(x)).flatten(2).unflatten(1, (-1, 3)).permute(2, 0, 3, 1)
            x = (self.proj(scaled_dot_product_attention(*qkv).mT.reshape(x.shape)) + x) * 0.5**0.5
        return x


def resampled(x, change):
    return avg_pool2d(x, 2) if change == "down" else interpolate(x, scale_factor=2.0)


class SongUNet(nn.Module):
    def __init__(self, channels, size, width, mult, blocks, at):
        super().__init__()
        self.width, time, now, skips = width, 4 * width, width, []
        self.map_layer0, self.map_layer1 = nn.Linear(width, time), nn.Linear(time, time)
        self.enc, self.dec = nn.ModuleDict(), nn.ModuleDict()
        self.enc[f"{size}x{size}_conv"] = nn.Conv2d(channels, width, 3, padding=1)
        for i, m in enumerate(mult):
            name = f"{size >> i}x{size >> i}_"
            if i:
                self.enc[name + "down"] = Block(now, now, time, "down")
            skips.append(now)
            for j in range(blocks):
                self.enc[f"{name}block{j}"] = Block(now, width * m, time, "", size >> i in at)
                now = width * m
                skips.append(now)
        for i, m in reversed(list(enumerate(mult))):
            name = f"{size >> i}x{size >> i}_"
            if i == len(mult) - 1:
                self.dec[name + "in0"] = Block(now, now, time, "", True)
                self.dec[name + "in1"] = Block(now, now, time)
            else:
                self.dec[name + "up"] = Block(now, now, time, "up")
            for j in range(blocks + 1):
                attention = j == blocks and size >> i in at
                wide = now + skips.pop()
                self.dec[f"{name}block{j}"] = Block(wide, width * m, time, "", attention)
                now = width * m
        self.dec[name + "aux_norm"], self.dec[name + "aux_conv"] = norm(now), out(now, channels)

    def forward(self, x, noise):
        angles = noise[:, None] * 1e4 ** -torch.linspace(0, 1, self.width // 2)
        time = silu(self.map_layer0(torch.cat([angles.sin(), angles.cos()], 1)))
        time, hs = silu(self.map_layer1(time)), []
        for block in self.enc.values():
            x = block(x, time) if isinstance(block, Block) else block(x)
            hs.append(x)
        for block in list(self.dec.values())[:-2]:
            x = torch.cat([x, hs.pop()], 1) if x.shape[1] != block.in_channels else x
            x = block(x, time)
        *_, normalize, last = self.dec.values()
        return last(silu(normalize(x)))


def out(width, channels):
    return nn.Conv2d(width, channels, 3, padding=1)


def edm(channels=3, sample_size=32, width=128, mult=(2, 2, 2), blocks=4, at=(16,), data=0.5):
    a2 = (1 - torch.linspace(1e-4, 0.02, 1000)).cumprod(0)
    sigmas = ((1 - a2) / a2).sqrt()

    def x_0(network, x, t):
        sigma, a = sigmas[t], a2[t, None, None, None].sqrt()
        s, total = sigma[:, None, None, None], (sigma**2 + data**2)[:, None, None, None]
        f = network(x / a / total.sqrt(), sigma.log() / 4)
        return data**2 / total * x / a + s * data / total.sqrt() * f

    return SongUNet(channels, sample_size, width, mult, blocks, at), x_0
