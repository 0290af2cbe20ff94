import math

import torch
from torch.distributions import Normal, kl_divergence

from bench.core.denoiser import diffuse
from bench.models.schedules import alpha_bar
from bench.models.training.variational import (
    Posterior,
    discretized_log_likelihood,
    gaussian_divergence,
)


def test_divergence_is_that_of_torch():
    generator = torch.Generator().manual_seed(0)
    mean_1, mean_2, log_1, log_2 = torch.randn(4, 50, generator=generator)
    expected = kl_divergence(
        Normal(mean_1, (0.5 * log_1).exp()), Normal(mean_2, (0.5 * log_2).exp())
    )
    torch.testing.assert_close(gaussian_divergence(mean_1, log_1, mean_2, log_2), expected)


def test_likelihood_is_the_probability_of_a_level():
    """Against the exact Gaussian distribution function; the approximation is good to 2e-4."""
    levels = torch.arange(256) / 127.5 - 1
    mean, scale = torch.tensor(0.1), 0.2
    found = discretized_log_likelihood(levels, mean, torch.tensor(2 * math.log(scale))).exp()
    exact = Normal(0.1, scale)
    upper, lower = exact.cdf(levels + 1 / 255), exact.cdf(levels - 1 / 255)
    upper[-1], lower[0] = 1.0, 0.0
    torch.testing.assert_close(found, upper - lower, atol=2e-4, rtol=0)
    torch.testing.assert_close(found.sum(), torch.tensor(1.0), atol=2e-3, rtol=0)


def test_posterior_is_bayes_rule_on_a_grid():
    """q(x_{t-1} | x_t, x_0) by multiplying densities of the forward process on a fine grid."""
    schedule = alpha_bar("linear").to(torch.float64)
    t, x_0, x_t = 300, 0.4, 0.7
    grid = torch.linspace(-6, 6, 200_001, dtype=torch.float64)
    beta = 1 - schedule[t] / schedule[t - 1]
    before = Normal(schedule[t - 1].sqrt() * x_0, (1 - schedule[t - 1]).sqrt()).log_prob(grid)
    after = Normal((1 - beta).sqrt() * grid, beta.sqrt()).log_prob(torch.tensor(x_t).double())
    density = (before + after).softmax(0)
    mean = (density * grid).sum()
    variance = (density * (grid - mean) ** 2).sum()
    posterior = Posterior(alpha_bar("linear"), torch.device("cpu"))
    step = torch.tensor([t])
    one = torch.ones(1, 1, 1, 1)
    found = posterior.mean(x_0 * one, x_t * one, step)
    torch.testing.assert_close(found.item(), mean.item(), atol=1e-5, rtol=0)
    torch.testing.assert_close(
        posterior.at("log_variance", step).exp().item(), variance.item(), rtol=1e-3, atol=0
    )


def test_bits_of_the_first_timestep_are_the_likelihood():
    posterior = Posterior(alpha_bar("cosine"), torch.device("cpu"))
    t, x_0 = torch.zeros(1, dtype=torch.int64), torch.zeros(1, 1, 2, 2)
    x_t = diffuse(x_0, torch.zeros_like(x_0), alpha_bar("cosine")[t])
    v = torch.zeros_like(x_0)
    bits = posterior.bits(v, x_0, x_0, x_t, t)
    log_variance = 0.5 * (posterior.at("log_beta", t) + posterior.at("log_variance", t))
    nats = -discretized_log_likelihood(x_0, torch.zeros_like(x_0), log_variance)
    torch.testing.assert_close(bits, nats.mean().view(1) / math.log(2))
