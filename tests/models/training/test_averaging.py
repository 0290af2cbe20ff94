"""EMA and SWA against the explicit weighted averages, over the weights of a real run."""

import dataclasses

import torch

from bench.models.training.loop import Trainer


def followed(recipe, images):
    """(trainer after its run, the weights after each update)."""
    trainer, path = Trainer(recipe, images), []
    for _ in range(recipe.updates):
        trainer.step()
        path.append([p.detach().clone() for p in trainer.parameters])
    return trainer, path


def explicit_ema(start, path, decays):
    """sum_k (1 - d_k) prod_{j > k} d_j w_k, plus the start's share."""
    total = [p * torch.tensor(decays).prod() for p in start]
    for k, weights in enumerate(path):
        share = (1 - decays[k]) * torch.tensor(decays[k + 1 :]).prod()
        total = [a + share * p for a, p in zip(total, weights, strict=True)]
    return total


def close(found, names, expected):
    for name, value in zip(names, expected, strict=True):
        assert torch.allclose(found[name], value, atol=1e-6), name


def test_averages_are_the_explicit_ones(recipe, images):
    recipe = dataclasses.replace(recipe, ema_decays=(0.9, 0.5))
    start = [p.detach().clone() for p in Trainer(recipe, images).parameters]
    trainer, path = followed(recipe, images)
    found = trainer.averages.weights()
    names = [name for name, _ in trainer.model.named_parameters()]
    for kind, decay in (("ema", 0.9), ("ema@0.5", 0.5)):
        decays = [0.0] + [min(decay, u / (9 + u)) for u in range(2, 7)]
        close(found[kind], names, explicit_ema(start, path, decays))
    close(found["raw"], names, path[-1])
    close(found["swa"], names, [torch.stack(w).mean(0) for w in zip(*path[3:], strict=True)])


def test_without_warm_up_the_decay_is_constant(recipe, images):
    recipe = dataclasses.replace(recipe, ema_warmup=False)
    start = [p.detach().clone() for p in Trainer(recipe, images).parameters]
    trainer, path = followed(recipe, images)
    names = [name for name, _ in trainer.model.named_parameters()]
    found = trainer.averages.weights()["ema"]
    close(found, names, explicit_ema(start, path, [0.0] + [0.9] * 5))


def test_no_equal_average_before_a_cycle_has_ended(recipe, images):
    trainer, _ = followed(dataclasses.replace(recipe, swa_every=4), images)
    assert list(trainer.averages.weights()) == ["raw", "ema"]
