"""Curvature of the denoising loss: top eigenvalues, spectrum and trace of its Hessian H.

H is never formed: H v = d/dw (g(w) . v) by a second backward pass, chunk by chunk of the images.

Eigenvalues: Lanczos with full reorthogonalization from a random vector. After m products the Ritz
values theta of the m x m tridiagonal matrix approximate the ends of the spectrum from inside, and
an eigenvalue lies within |beta_m s| of theta, s being the last entry of its Ritz vector (Parlett
1998, section 13.2): the ends that a row gives. That is a bound of linear algebra for these images,
not an interval over images.

Spectrum: the same iterations are a Gauss quadrature of the density of eigenvalues: m nodes theta_k
whose weights are the squared first entries of their Ritz vectors (stochastic Lanczos quadrature;
Ghorbani, Krishnan and Xiao 2019, arXiv 1901.10159). One random vector is enough for as many
weights as a network has: the spread over vectors falls with their root.

Trace: Hutchinson, the mean of v' H v over vectors v of random signs, with the Student interval
over the vectors. PyHessian (Yao et al. 2020, arXiv 1912.07145) estimates both likewise, the
eigenvalues by power iteration.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor
from torch.nn.attention import SDPBackend, sdpa_kernel

from bench.core import estimates
from bench.core.probe_record import ProbeValue
from bench.measurement.probes import weight_space as space
from bench.measurement.probes.context import Examples, ProbeContext, Setting
from bench.system.random import seeded

Product = Callable[[Tensor], Tensor]
# A Krylov space is exhausted where a new direction is shorter than this share of the last.
EXHAUSTED = 1e-6
# Relative error of float32 products, which the bound does not cover.
ROUNDING = 1e-6


class Hessian:
    """Rows `hessian_eigenvalue` (where: its rank), `hessian_density` (a share of the directions;
    where: their eigenvalue) and `hessian_trace`."""

    version = 2

    def parts(self, setting: Setting, schemes: Sequence[str]) -> Sequence[str]:
        """Names of the two parts."""
        return ["eigenvalues", "trace"]

    def __call__(
        self, context: ProbeContext, part: str, earlier: Mapping[str, list[ProbeValue]]
    ) -> list[ProbeValue]:
        """Compute one part."""
        setting = context.setting
        examples = context.examples.first(setting.curvature)
        names = trained(context, examples)
        product = products(context, examples, names)
        size = sum(dict(context.full.model.named_parameters())[name].numel() for name in names)
        where: dict[str, float | str] = {"images": len(examples)}
        if part == "trace":
            values = trace_samples(product, size, setting.hutchinson, setting.seed)
            mean = float(values.mean())
            low, high = estimates.interval(mean, values - mean)
            return [ProbeValue("hessian_trace", mean, low, high, len(values), where=where)]
        spectrum = lanczos(product, size, setting.lanczos, setting.seed)
        ends = list(zip(spectrum.values.tolist(), spectrum.bounds.tolist(), strict=True))
        count = len(ends)
        top = [
            ProbeValue(
                "hessian_eigenvalue",
                value,
                value - bound,
                value + bound,
                count,
                where=where | {"rank": rank},
            )
            for rank, (value, bound) in enumerate(ends[: setting.eigenvalues], 1)
        ]
        nodes = zip(spectrum.values.tolist(), spectrum.shares.tolist(), strict=True)
        return top + [
            ProbeValue("hessian_density", share, n=count, where=where | {"eigenvalue": value})
            for value, share in nodes
        ]


def trained(context: ProbeContext, examples: Examples) -> list[str]:
    """Names of the parameters that the loss depends on."""
    weights = space.point(context.full.model)
    slope = space.gradient(context, weights, examples.first(1))
    return [name for name in weights if name in slope]


def products(context: ProbeContext, examples: Examples, names: Sequence[str]) -> Product:
    """v -> H v of the mean loss over the examples, for flat float32 vectors over `names`, on the
    device of v."""
    weights = space.point(context.full.model)
    shapes = [weights[name].shape for name in names]

    def product(vector: Tensor) -> Tensor:
        moved = vector.to(weights[names[0]].device)
        pieces = moved.split([shape.numel() for shape in shapes])
        pieces = [piece.view(shape) for piece, shape in zip(pieces, shapes, strict=True)]
        total = torch.zeros_like(moved)
        for chunk in examples.chunks(context.setting.chunk):
            leaves = {name: weights[name].detach().requires_grad_() for name in names}
            # Fused attention has no second derivative.
            with sdpa_kernel(SDPBackend.MATH):
                network = space.at(context.full.model, weights | leaves)
                loss = context.losses(network, chunk).mean()
                # `grad` and not `backward`: that would leave gradients that hold the graph alive.
                slope = torch.autograd.grad(loss, list(leaves.values()), create_graph=True)
                # Where the loss is linear in a parameter its gradient is constant: no second one.
                curved = [(g, p) for g, p in zip(slope, pieces, strict=True) if g.requires_grad]
                gradients = torch.autograd.grad(
                    [g for g, _ in curved],
                    list(leaves.values()),
                    [p for _, p in curved],
                    materialize_grads=True,
                    allow_unused=True,
                )
            total += torch.cat([f.flatten() for f in gradients]) * (len(chunk) / len(examples))
        return total.to(vector.device)

    return product


@dataclass(frozen=True)
class Spectrum:
    """The result of m Lanczos iterations, all (m,), the largest value first.

    Attributes:
        values: Ritz values.
        bounds: an eigenvalue lies within this distance of each.
        shares: weight of each Ritz value, as a share of the eigenvalues; their sum is 1.
    """

    values: np.ndarray
    bounds: np.ndarray
    shares: np.ndarray


def lanczos(product: Product, size: int, count: int, seed: int) -> Spectrum:
    """Ritz values of a symmetric matrix.

    Args:
        product: function that multiplies the symmetric matrix by a float32 vector (size,).
        size: the size of the matrix.
        count: products; fewer where the space is exhausted before. Holds as many vectors.
        seed: the seed of the first vector.
    """
    vector = torch.randn(size, generator=seeded("probes", "lanczos", seed))
    basis = [vector / vector.norm()]
    diagonal: list[float] = []
    beside: list[float] = []
    for _ in range(min(count, size)):
        new = product(basis[-1]).double()
        diagonal.append(float(new @ basis[-1].double()))
        # Twice is enough (Parlett): once leaves the rounding errors of the large components.
        for _ in range(2):
            for old in basis:
                new -= (new @ old.double()) * old.double()
        beside.append(float(new.norm()))
        if beside[-1] <= EXHAUSTED * max(map(abs, diagonal)):
            beside[-1] = 0.0
            break
        basis.append((new / beside[-1]).float())
    matrix = np.diag(diagonal) + np.diag(beside[:-1], 1) + np.diag(beside[:-1], -1)
    values, vectors = np.linalg.eigh(matrix)
    order = np.argsort(values)[::-1]
    rounding = ROUNDING * np.abs(values).max()
    bounds = beside[-1] * np.abs(vectors[-1, order]) + rounding
    return Spectrum(values[order], bounds, vectors[0, order] ** 2)


def trace_samples(product: Product, size: int, count: int, seed: int) -> np.ndarray:
    """v' A v for vectors v of random signs, (count,); their mean estimates the trace of A."""
    samples = []
    for k in range(count):
        signs = torch.randint(0, 2, (size,), generator=seeded("probes", "signs", k, seed))
        vector = signs.float() * 2 - 1
        samples.append(float(vector.double() @ product(vector).double()))
    return np.array(samples)
