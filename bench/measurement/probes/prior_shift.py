"""Prior shift: how images change when sampling starts from other noise than in training.

The paper's theorem 2 says that a flat minimum tolerates a gap between distributions. Here the
standard normal start z of each image becomes

    scale:  1.1 z, 0.9 z          mean:   z + 0.1
    tails:  Student t of 5 degrees of freedom, at unit variance, with the ranks of z
    low:    z with its components of low frequency (below 1/8 of a cycle per pixel) 1.5 times

and the rise of the distance to real images is reported, paired by image with the unshifted start.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence

import torch
from scipy.special import ndtr, stdtrit
from torch import Tensor

from bench.core.probe_record import ProbeValue
from bench.measurement.probes.context import ProbeContext, Setting, row

DEGREES = 5
LOW, GAIN = 1 / 8, 1.5


def tails(z: Tensor) -> Tensor:
    """Each value at the same quantile of a Student t, scaled to unit variance."""
    quantiles = ndtr(z.cpu().double().numpy())
    values = torch.from_numpy(stdtrit(DEGREES, quantiles))
    return (values * math.sqrt((DEGREES - 2) / DEGREES)).to(z)


def low_frequencies(z: Tensor) -> Tensor:
    """Amplify what varies slowly over the image."""
    vertical = torch.fft.fftfreq(z.shape[-2], device=z.device)[:, None]
    horizontal = torch.fft.rfftfreq(z.shape[-1], device=z.device)[None]
    slow = (vertical.square() + horizontal.square()).sqrt() < LOW
    spectrum = torch.fft.rfft2(z) * torch.where(slow, GAIN, 1.0)
    return torch.fft.irfft2(spectrum, s=z.shape[-2:])


SHIFTS: dict[str, Callable[[Tensor], Tensor]] = {
    "scale 1.1": lambda z: 1.1 * z,
    "scale 0.9": lambda z: 0.9 * z,
    "mean +0.1": lambda z: z + 0.1,
    "tails": tails,
    "low frequencies": low_frequencies,
}


class Prior:
    """Rows `quality` of each start and `prior_rise` of each shifted one; the mean over the shifts
    is `prior_shift`."""

    version = 1

    def parts(self, setting: Setting, schemes: Sequence[str]) -> Sequence[str]:
        """One: all starts are compared with the unshifted one."""
        return ["shifts"]

    def __call__(
        self, context: ProbeContext, part: str, earlier: Mapping[str, list[ProbeValue]]
    ) -> list[ProbeValue]:
        """Compute all shifts."""
        base, base_terms = context.quality(context.sample(context.full))
        rows = [row("quality", base, base_terms, where={"start": "standard normal"})]
        rises = []
        for name, shift in SHIFTS.items():
            value, terms = context.quality(context.sample(context.full, start=shift))
            rises.append((value - base, terms - base_terms))
            rows.append(row("quality", value, terms, where={"start": name}))
            rows.append(row("prior_rise", *rises[-1], where={"start": name}))
        total = sum(value for value, _ in rises) / len(rises)
        terms = sum(terms for _, terms in rises) / len(rises)
        return [*rows, row("prior_shift", total, terms)]
