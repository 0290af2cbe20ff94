import numpy as np
import pytest
import torch
from helpers.subjects import Linear, denoising, quadratic, small, squared, subject
from torch.func import functional_call, hessian
from torch.nn.attention import SDPBackend, sdpa_kernel

from bench.measurement.probes import weight_space as space
from bench.measurement.probes.context import Examples, Setting
from bench.measurement.probes.hessian import Hessian, lanczos, products, trace_samples, trained

SETTING = Setting(chunk=8, curvature=16, lanczos=12, eigenvalues=2, hutchinson=4)


def rows(found, part):
    return Hessian()(found, part, {})


def test_quadratic():
    curvature = torch.cat([torch.tensor([50.0, 30.0]), torch.linspace(0.1, 1.0, 40)])
    found = quadratic(curvature, torch.ones(42), SETTING)
    first, second, *density = rows(found, "eigenvalues")
    assert sum(row.value for row in density) == pytest.approx(1.0)
    assert first.value == pytest.approx(50.0, rel=1e-3)
    assert second.value == pytest.approx(30.0, rel=1e-3)
    assert first.low <= 50.0 <= first.high
    (trace,) = rows(found, "trace")
    # Vectors of signs give the trace of a diagonal matrix exactly.
    assert trace.value == pytest.approx(float(curvature.sum()), rel=1e-3)


def test_negative_curvature_counts_as_it_is():
    found = quadratic([-5.0, 1.0, 0.5], torch.ones(3), SETTING)
    first, second, *density = rows(found, "eigenvalues")
    assert density[-1].where["eigenvalue"] == pytest.approx(-5.0)
    assert (first.value, second.value) == (pytest.approx(1.0), pytest.approx(0.5))


def test_linear_network():
    # Loss mean_k (W x - y)_k^2: H is 2/D I (x) E[x x'], with inputs along the axes diagonal.
    x_0 = torch.diag(torch.arange(1.0, 17.0)).view(16, 1, 4, 4)
    drawn = Examples(x_0, torch.zeros(16, dtype=torch.int64), torch.randn(16, 1, 4, 4))
    found = subject(Linear(16), squared, drawn, SETTING)
    assert rows(found, "eigenvalues")[0].value == pytest.approx(2 / 16 * 16.0**2 / 16, rel=1e-3)
    squares = float((torch.arange(1.0, 17.0) ** 2).mean())
    assert rows(found, "trace")[0].value == pytest.approx(2 * squares, rel=1e-3)


def exact_hessian(found):
    weights = space.point(found.full.model)
    shapes = {name: value.shape for name, value in weights.items()}

    def loss(flat):
        pieces = flat.split([shape.numel() for shape in shapes.values()])
        point = {n: p.view(s) for p, (n, s) in zip(pieces, shapes.items(), strict=True)}
        network = lambda x, t: functional_call(found.full.model, point, (x, t))  # noqa: E731
        return denoising(network, found.examples).mean()

    with sdpa_kernel(SDPBackend.MATH):
        flat = torch.cat([value.flatten() for value in weights.values()])
        return hessian(loss)(flat)


def test_small_network_against_its_whole_hessian():
    found = small(SETTING)
    exact = exact_hessian(found)
    names = trained(found, found.examples)
    product = products(found, found.examples, names)
    vector = torch.randn(len(exact))
    torch.testing.assert_close(product(vector), exact @ vector, rtol=1e-3, atol=1e-5)
    found = lanczos(product, len(exact), 30, 0)
    values, bounds = found.values, found.bounds
    top = float(torch.linalg.eigvalsh(exact)[-1])
    assert values[0] == pytest.approx(top, rel=1e-3)
    assert abs(values[0] - top) <= bounds[0] + 1e-3 * top
    samples = trace_samples(product, len(exact), 100, 0)
    error = samples.std(ddof=1) / len(samples) ** 0.5
    assert abs(samples.mean() - float(exact.trace())) < 4 * error


def pyhessian(found, count, vectors):
    """PyHessian's algorithms written anew: power iteration with deflation, and Hutchinson."""
    model = found.full.model.requires_grad_(True)
    parameters = list(model.parameters())
    with sdpa_kernel(SDPBackend.MATH):
        loss = denoising(model, found.examples).mean()
        slope = torch.autograd.grad(loss, parameters, create_graph=True)

        def times(v):
            return torch.autograd.grad(slope, parameters, v, retain_graph=True)

        values, found_vectors = [], []
        torch.manual_seed(1)
        for _ in range(count):
            v = [torch.randn_like(p) for p in parameters]
            for _ in range(100):
                for u in found_vectors:
                    dot = sum((a * b).sum() for a, b in zip(v, u, strict=True))
                    v = [a - dot * b for a, b in zip(v, u, strict=True)]
                length = sum(a.square().sum() for a in v).sqrt()
                v = [a / length for a in v]
                h = times(v)
                value = float(sum((a * b).sum() for a, b in zip(h, v, strict=True)))
                v, unit = list(h), v
            values.append(value)
            found_vectors.append(unit)
        traces = []
        for _ in range(vectors):
            v = [torch.randint_like(p, 2) * 2 - 1 for p in parameters]
            traces.append(float(sum((a * b).sum() for a, b in zip(times(v), v, strict=True))))
    model.requires_grad_(False)
    return values, np.array(traces)


def test_agrees_with_pyhessian():
    found = small(SETTING)
    theirs, traces = pyhessian(found, 1, 50)
    product = products(found, found.examples, trained(found, found.examples))
    size = sum(p.numel() for p in found.full.model.parameters())
    values = lanczos(product, size, 30, 0).values
    assert values[0] == pytest.approx(theirs[0], rel=1e-3)
    ours = trace_samples(product, size, 50, 0)
    error = ((ours.var(ddof=1) + traces.var(ddof=1)) / 50) ** 0.5
    assert abs(ours.mean() - traces.mean()) < 4 * error


def test_nothing_of_the_graph_is_kept():
    found = small(SETTING)
    product = products(found, found.examples, trained(found, found.examples))
    result = product(torch.ones(sum(p.numel() for p in found.full.model.parameters())))
    assert not result.requires_grad
    assert all(p.grad is None and not p.requires_grad for p in found.full.model.parameters())


def test_an_exhausted_space_ends_early():
    found = lanczos(lambda v: 3 * v, 10, 8, 0)
    assert found.values == pytest.approx([3.0])
    assert found.bounds == pytest.approx([3e-6])
    assert found.shares == pytest.approx([1.0])


def test_shares_of_a_known_spectrum():
    # 6,000 eigenvalues 1, 3,000 of 2 and 1,000 of 7: the space ends after three products.
    spectrum = torch.tensor([1.0] * 6000 + [2.0] * 3000 + [7.0] * 1000)
    found = lanczos(lambda v: spectrum * v, 10_000, 8, 0)
    # Chi-squared weights: the share p of n has a standard error of sqrt(2 p (1 - p) / n).
    assert found.values == pytest.approx([7.0, 2.0, 1.0], rel=1e-4)
    for share, p in zip(found.shares, (0.1, 0.3, 0.6), strict=True):
        assert abs(share - p) < 4 * (2 * p * (1 - p) / 10_000) ** 0.5
