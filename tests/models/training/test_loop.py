import dataclasses

import pytest
import torch

from bench.core.errors import InputError
from bench.models.training.loop import Trainer, train


def run(recipe, images, snapshot, **changes):
    trainer = Trainer(recipe, images)
    train(trainer, snapshot, lambda done, loss: None, **changes)
    return trainer.averages.weights()


def equal(a, b):
    assert a.keys() == b.keys()
    return all(torch.equal(a[kind][name], b[kind][name]) for kind in a for name in a[kind])


def batches(trainer):
    return [trainer.batch(k) for k in range(6)]


@pytest.mark.parametrize(
    "changes",
    [
        {},
        {"method": "sam"},
        {"method": "ip+sam", "adaptive": True},
        {"timestep_sampler": "loss-second-moment", "timesteps": 2, "flip": True},
        {"optimizer": "adamw", "weight_decay": 0.1, "ema_decays": (0.9, 0.5)},
        {"swa_schedule": "cosine", "swa_rate": 0.1, "swa_every": 2},
    ],
)
def test_resumed_run_has_the_same_bits(recipe, images, tmp_path, changes):
    recipe = dataclasses.replace(recipe, **{"updates": 30, "batch": 3} | changes)
    whole = run(recipe, images, tmp_path / "whole.pt")
    stopped = Trainer(recipe, images)
    for _ in range(17):
        stopped.step()
    stopped.save(tmp_path / "stopped.pt")
    assert equal(whole, run(recipe, images, tmp_path / "stopped.pt"))


def test_dropout_resumes_too(recipe, images, tmp_path):
    recipe = recipe.changed({"network.unet.dropout": "0.5", "method": "sam"})
    whole = run(recipe, images, tmp_path / "whole.pt")
    stopped = Trainer(recipe, images)
    for _ in range(4):
        stopped.step()
    stopped.save(tmp_path / "stopped.pt")
    torch.manual_seed(1234)
    assert equal(whole, run(recipe, images, tmp_path / "stopped.pt"))
    assert not equal(whole, run(recipe.changed({"seed": "1"}), images, tmp_path / "other.pt"))


def test_sam_with_radius_zero_is_its_base_optimizer_to_the_bit(recipe, images, tmp_path):
    plain = run(recipe, images, tmp_path / "plain.pt")
    zero = dataclasses.replace(recipe, method="sam", rho=0.0)
    assert equal(plain, run(zero, images, tmp_path / "zero.pt"))
    some = dataclasses.replace(recipe, method="sam", rho=0.1)
    assert not equal(plain, run(some, images, tmp_path / "some.pt"))


def test_input_perturbation_of_strength_zero_is_the_baseline_to_the_bit(recipe, images, tmp_path):
    plain = run(recipe, images, tmp_path / "plain.pt")
    zero = dataclasses.replace(recipe, method="ip", gamma=0.0)
    assert equal(plain, run(zero, images, tmp_path / "zero.pt"))
    some = dataclasses.replace(recipe, method="ip", gamma=0.1)
    assert not equal(plain, run(some, images, tmp_path / "some.pt"))


def test_methods_see_the_same_data(recipe, images):
    plain = batches(Trainer(recipe, images))
    for changes in ({"method": "sam"}, {"method": "ip"}, {"predicts": "v_prediction"}):
        other = batches(Trainer(dataclasses.replace(recipe, **changes), images))
        for a, b in zip(plain, other, strict=True):
            assert torch.equal(a.x_0, b.x_0)
            assert torch.equal(a.t, b.t)
            assert torch.equal(a.noise, b.noise)
    assert not torch.equal(plain[3].noise, plain[4].noise)


def test_an_epoch_has_no_repeats(recipe, images):
    trainer = Trainer(dataclasses.replace(recipe, batch=3), images)
    seen = torch.cat([trainer.batch(k).x_0 for k in range(3)])
    assert len(seen.flatten(1).unique(dim=0)) == 9
    again = torch.cat([trainer.batch(k).x_0 for k in range(3, 6)])
    assert not torch.equal(seen, again)


def test_flips_mirror_about_half(recipe, images):
    plain = Trainer(recipe, images).batch(0).x_0
    flipped = [Trainer(dataclasses.replace(recipe, flip=True), images).batch(k) for k in range(20)]
    same = [torch.equal(a, b) for a, b in zip(flipped[0].x_0, plain, strict=True)]
    mirrored = [torch.equal(a.flip(-1), b) for a, b in zip(flipped[0].x_0, plain, strict=True)]
    assert [a != b for a, b in zip(same, mirrored, strict=True)] == [True] * 4
    plains = [Trainer(recipe, images).batch(k).x_0 for k in range(20)]
    count = sum(
        not torch.equal(a, b)
        for batch, x_0 in zip(flipped, plains, strict=True)
        for a, b in zip(batch.x_0, x_0, strict=True)
    )
    assert 20 < count < 60


def test_equal_compute_halves_the_updates_of_sam(recipe, images, tmp_path):
    half = dataclasses.replace(recipe, method="sam", equal="compute")
    trainer = Trainer(half, images)
    train(trainer, tmp_path / "a.pt", lambda done, loss: None)
    assert trainer.update == 3


def test_bfloat16_keeps_float32_weights(recipe, images):
    trainer = Trainer(dataclasses.replace(recipe, precision="bfloat16"), images)
    full = Trainer(recipe, images)
    assert trainer.step().item() == pytest.approx(full.step().item(), rel=0.02)
    assert {p.dtype for p in trainer.parameters} == {torch.float32}
    assert any(
        not torch.equal(a, b) for a, b in zip(trainer.parameters, full.parameters, strict=True)
    )


def test_snapshot_of_another_recipe_is_refused(recipe, images, tmp_path):
    Trainer(recipe, images).save(tmp_path / "a.pt")
    with pytest.raises(InputError, match=r"another rho, seed; choose another --name"):
        run(dataclasses.replace(recipe, seed=1, rho=0.7), images, tmp_path / "a.pt")


def test_damaged_snapshot_is_refused(recipe, images, tmp_path):
    path = tmp_path / "a.pt"
    Trainer(recipe, images).save(path)
    path.write_bytes(path.read_bytes()[:1000])
    with pytest.raises(InputError, match="not a whole snapshot"):
        run(recipe, images, path)


def test_a_snapshot_with_another_bit_is_set_aside_and_one_without_a_hash_is_told(
    recipe, images, tmp_path, capsys
):
    path = tmp_path / "a.pt"
    Trainer(recipe, images).save(path)
    sealed = path.read_bytes()
    whole = torch.load(path, weights_only=True)
    content = bytearray(sealed)
    content[len(content) // 2] ^= 4
    path.write_bytes(content)
    with pytest.raises(InputError, match="not a whole snapshot, and set aside"):
        Trainer(recipe, images).load(path)
    assert not path.exists() and (tmp_path / "a.pt.damaged").read_bytes() == content
    # As earlier releases wrote them.
    torch.save(whole, path)
    Trainer(recipe, images).load(path)
    assert "no SHA-256 to be held against: read as it is" in capsys.readouterr().err


def test_divergence_keeps_the_last_good_snapshot(recipe, images, tmp_path):
    path, trainer = tmp_path / "a.pt", Trainer(recipe, images)
    trainer.save(path)
    good = path.read_bytes()
    with torch.no_grad():
        trainer.parameters[0].fill_(float("nan"))
    with pytest.raises(InputError, match="not finite after 0 updates"):
        trainer.save(path)
    assert path.read_bytes() == good


def test_images_that_do_not_fit_are_refused(recipe, images):
    with pytest.raises(InputError, match="recipe says"):
        Trainer(dataclasses.replace(recipe, shape=(3, 28, 28)), images)
    with pytest.raises(InputError, match="lower --batch"):
        Trainer(dataclasses.replace(recipe, batch=10), images)


@pytest.mark.slow
def test_compiled_network_takes_the_same_step(recipe, images):
    plain, compiled = Trainer(recipe, images), Trainer(recipe, images, compiled=True)
    assert compiled.step().item() == pytest.approx(plain.step().item(), rel=1e-4)
