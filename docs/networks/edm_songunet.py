"""EDM's `SongUNet` as DDPM++ (Karras et al. 2022), under the names of its weights. Of CIFAR-10:
--set levels=edm --set "sides={32x32: 256, 16x16: 256, 8x8: 256}"
"""

import torch
from torch import nn
from torch.nn.functional import scaled_dot_product_attention, silu


def norm(width):
    return nn.GroupNorm(min(32, width // 4), width, eps=1e-6)


class Block(nn.Module):
    def __init__(self, inputs, width, time, change=None, attends=False):
        super().__init__()
        self.inputs, self.change, self.attends = inputs, change or nn.Identity(), attends
        self.norm0, self.norm1, self.affine = norm(inputs), norm(width), nn.Linear(time, width)
        self.conv0, self.conv1 = (nn.Conv2d(n, width, 3, padding=1) for n in (inputs, width))
        self.skip = nn.Conv2d(inputs, width, 1) if change or inputs != width else nn.Identity()
        for conv in (self.conv0, self.skip) if change else ():
            conv.register_buffer("resample_filter", torch.full((1, 1, 2, 2), 0.25))
        if attends:
            self.norm2, self.qkv = norm(width), nn.Conv2d(width, 3 * width, 1)
            self.proj = nn.Conv2d(width, width, 1)

    def forward(self, x, time):
        h = self.conv0(self.change(silu(self.norm0(x)))) + self.affine(time)[:, :, None, None]
        x = (self.conv1(silu(self.norm1(h))) + self.skip(self.change(x))) * 0.5**0.5
        if self.attends:
            qkv = self.qkv(self.norm2(x)).flatten(2).unflatten(1, (-1, 3)).permute(2, 0, 3, 1)
            x = (self.proj(scaled_dot_product_attention(*qkv).mT.reshape(x.shape)) + x) * 0.5**0.5
        return x


class SongUNet(nn.Module):
    def __init__(self, sides, channels=3, width=128, blocks=4, at="16x16", augment=0):
        super().__init__()
        self.width, time, skips, names = width, 4 * width, [width], list(sides)
        self.map_layer0, self.map_layer1 = nn.Linear(width, time), nn.Linear(time, time)
        if augment:  # of the author's files 9, and not used without augmentation
            self.map_augment = nn.Linear(augment, width, bias=False)
        self.enc, self.dec = nn.ModuleDict(), nn.ModuleDict()
        self.enc[f"{names[0]}_conv"] = nn.Conv2d(channels, width, 3, padding=1)
        for side, wide in sides.items():
            if side != names[0]:
                self.enc[f"{side}_down"] = Block(skips[-1], skips[-1], time, nn.AvgPool2d(2))
                skips.append(skips[-1])
            for j in range(blocks):
                self.enc[f"{side}_block{j}"] = Block(skips[-1], wide, time, None, side == at)
                skips.append(wide)
        self.dec[f"{side}_in0"] = Block(wide, wide, time, None, True)
        self.dec[f"{side}_in1"], now = Block(wide, wide, time), wide
        for side, wide in reversed(sides.items()):
            if side != names[-1]:
                self.dec[f"{side}_up"] = Block(now, now, time, nn.Upsample(scale_factor=2.0))
            for j, attends in enumerate([False] * blocks + [side == at]):
                self.dec[f"{side}_block{j}"] = Block(now + skips.pop(), wide, time, None, attends)
                now = wide
        self.dec[f"{side}_aux_norm"] = norm(now)
        self.dec[f"{side}_aux_conv"] = nn.Conv2d(now, channels, 3, padding=1)

    def forward(self, x, noise):
        angles = noise[:, None] * 1e4 ** -torch.linspace(0, 1, self.width // 2)
        time = silu(self.map_layer0(torch.cat([angles.sin(), angles.cos()], 1)))
        time = silu(self.map_layer1(time))
        (first, *down), (*up, normalize, last) = self.enc.values(), self.dec.values()
        hs = [first(x)]
        for block in down:
            hs.append(block(hs[-1], time))
        x = hs[-1]
        for block in up:
            x = block(x if x.shape[1] == block.inputs else torch.cat([x, hs.pop()], 1), time)
        return last(silu(normalize(x)))
