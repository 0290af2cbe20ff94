"""Flags that no weight shows: rescaled timesteps, heads, and the open fields of a UNet2DModel."""

import pytest
import torch
from diffusers import UNet2DModel
from helpers.adm_reference import Flags, Reference, weights
from helpers.folders import UNET
from safetensors.torch import save_file

from bench.core import extensions
from bench.core.cell import Draw
from bench.core.errors import InputError
from bench.evaluation import importing
from bench.models.cards import load_cards, verify
from bench.models.networks import build_network
from bench.models.samplers.ddim import ddim
from bench.models.samplers.drawing import Batch
from bench.models.samplers.noise import image_generators
from bench.models.sources import drafts, unet_shapes
from bench.models.sources.heads import Heads, choices
from bench.models.sources.telling import tell
from bench.quant.layers import export

IDDPM = Flags(
    size=8, multiples=(1, 2), blocks=1, attention=(8, 4), heads=4, new_order=False,
    resblock_updown=False, steps=4000, rescale=True, classes=3,
)  # fmt: skip
FIELDS = {"sample_size": "8", "timesteps": "4000", "attention_order": "legacy", "num_heads": "4"}


@pytest.fixture
def imported(tmp_path, capsys):
    def run(state, **fields):
        torch.save(state, tmp_path / "ema_0.9999_500000.pt")
        (tmp_path / "card.yaml").unlink(missing_ok=True)
        capsys.readouterr()
        given = importing.Given(dataset="cifar10", config=fields)
        importing.write_card(str(tmp_path / "ema_0.9999_500000.pt"), given, tmp_path / "card.yaml")
        (card,) = load_cards(tmp_path / "card.yaml")
        load = extensions.lookup("sources", card.source)
        return card, load(verify(card)), capsys.readouterr().out

    return run


def test_iddpm_of_4000_steps(imported):
    """Classes, heads over several widths, and fractional timesteps, against the reference."""
    state = weights(IDDPM)
    with pytest.raises(InputError, match=r"rescale_timesteps=true or false: .* 4000 timesteps"):
        imported(state, **FIELDS)
    card, denoiser, text = imported(state, **FIELDS, rescale_timesteps="true")
    assert card.config["rescale_timesteps"] is True and card.config["network"]["heads"] == 4
    assert "rescale" not in "".join(line for line in text.splitlines() if "#" in line)
    assert denoiser.classes == 3 and len(denoiser.alpha_bar) == 4000
    x, t, y = torch.randn(3, 3, 8, 8), torch.tensor([3999, 1, 2002]), torch.tensor([2, 0, 1])
    with torch.inference_mode():
        expected = Reference(state, IDDPM)(x, t, y)
        torch.testing.assert_close(denoiser.model(x, t + 4000 * y), expected, atol=1e-5, rtol=1e-5)
        plain = Flags(**(IDDPM.__dict__ | {"rescale": False}))
        other = Reference(state, plain)(x, t, y)
        assert (other - expected).abs().max() > 0.1
        _, unscaled, _ = imported(state, **FIELDS, rescale_timesteps="false")
        torch.testing.assert_close(unscaled.model(x, t + 4000 * y), other, atol=1e-5, rtol=1e-5)
    # The exported graph, which is what is quantized, has the same clock.
    graph = export(denoiser.model, x, t + 4000 * y)
    torch.testing.assert_close(graph(x, t + 4000 * y), expected, atol=1e-4, rtol=1e-4)
    draw = Draw(steps=4, batch=2, images=2)
    batch = Batch(denoiser, ddim, image_generators("images", 0, [0, 1]), draw)
    level = batch.levels[0]
    seen = denoiser.inputs(batch.x_T, level, batch.labels)[1]
    assert {int(code) % 4000 for code in seen} == {3999}
    assert (seen // 4000).tolist() == batch.labels.tolist()
    assert batch.images().shape == (2, 3, 8, 8)


def test_the_linear_schedule_of_adm_ends_in_noise_whatever_its_steps(imported):
    """betas are those of 1,000 steps times 1000 / T (gaussian_diffusion of the authors)."""
    state = weights(IDDPM)
    _, denoiser, _ = imported(state, **FIELDS, rescale_timesteps="true", schedule="linear")
    betas = torch.linspace(1e-4 / 4, 0.02 / 4, 4000, dtype=torch.float64)
    expected = (1 - betas).cumprod(0).float()
    torch.testing.assert_close(denoiser.alpha_bar, expected, atol=1e-7, rtol=1e-5)


def train(tensors, network, steps=60):
    """A network that knows noise at its last timestep and images of 0 at the first."""
    optimizer = torch.optim.Adam(tensors, 4e-3)
    generator = torch.Generator().manual_seed(0)
    for _ in range(steps):
        x = torch.randn(8, 3, 8, 8, generator=generator)
        first = torch.zeros(8)
        loss = (network(x, 1 - first)[:, :3] - x).square().mean()
        loss = loss + (network(x, first)[:, :3]).square().mean()
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    return float(loss.detach())


@pytest.fixture(scope="module")
def rescaled():
    flags = Flags(
        size=8, multiples=(1,), blocks=1, attention=(), head=16, steps=4000, rescale=True
    )
    torch.manual_seed(0)
    state = weights(flags)
    for value in state.values():
        value.requires_grad_()
    reference = Reference(state, flags)
    loss = train(state.values(), lambda x, last: reference(x, last * 3999))
    assert loss < 0.3
    return {name: value.detach() for name, value in state.items()}


def test_rescaling_is_found_out_in_a_trained_network(imported, rescaled):
    fields = {"sample_size": "8", "attention_head_dim": "16", "attention_order": "new"}
    card, _, text = imported(rescaled, **fields, timesteps="4000")
    assert card.config["rescale_timesteps"] is True
    assert "rescale_timesteps true, by the errors on noise (true: " in text
    with pytest.raises(
        InputError, match=r"rescale_timesteps: false .* fit .*rescale_timesteps: t"
    ):
        imported(rescaled, **fields, timesteps="4000", rescale_timesteps="false")


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("norm_num_groups", 4),
        ("flip_sin_to_cos", False),
        ("freq_shift", 1),
        ("downsample_padding", 0),
        ("norm_eps", 0.5),
        ("act_fn", "relu"),
        ("center_input_sample", True),
        ("mid_block_scale_factor", 2.0),
        pytest.param("attention_head_dim", 4, marks=pytest.mark.slow),
        pytest.param("num_heads", 2, marks=pytest.mark.slow),
    ],
)
def test_every_open_field_can_be_set(imported, monkeypatch, field, value):
    monkeypatch.setattr("bench.models.sources.telling.tell", lambda *arguments: None)
    torch.manual_seed(0)
    unet = UNET | {"sample_size": 8, "norm_num_groups": 8, "block_out_channels": [8, 16]}
    if field in ("num_heads", "attention_head_dim"):
        unet |= {"sample_size": 32, "block_out_channels": [8, 64]}
    if field == "num_heads":
        network = build_network({"patch": 1, "unet": unet, "heads": 2} | {
            "unet": unet | {"attention_head_dim": None}}).eval()  # fmt: skip
        state = {k.removeprefix("unet."): v for k, v in network.state_dict().items()}
    else:
        network = build_network({"patch": 1, "unet": unet | {field: value}}).eval()
        state = network.unet.state_dict()
    size = str(unet["sample_size"])
    fields = {"sample_size": size, field: str(value).lower() if field != "act_fn" else value}
    _, right, _ = imported(state, **fields)
    _, wrong, text = imported(state, sample_size=size)
    x, t = torch.randn(2, 3, int(size), int(size)), torch.tensor([3, 900])
    with torch.inference_mode():
        torch.testing.assert_close(right.model(x, t), network(x, t), atol=1e-5, rtol=1e-5)
        assert (wrong.model(x, t) - network(x, t)).abs().max() > 1e-4
    assert f"--set {field}=..." in text or field in text


def test_values_are_found_by_descent():
    """An error that falls with each right value, and one that is small by chance alone."""
    right = {"a": 3, "b": "y", "c": True}
    choices = {"a": [1, 2, 3], "b": ["x", "y"], "c": [False, True]}
    start = {"a": 1, "b": "x", "c": False}

    def error(flags):
        return 0.02 if flags == right else 0.3 + 0.2 * sum(flags[k] != v for k, v in right.items())

    told = tell(start, choices, error)
    assert told.flags == right and told.trained
    assert all(told.is_clear(name) for name in choices)
    assert told.words("c") == "true: 0.02, false: 0.5"
    # Two wrong values that hide each other are found in pairs.
    hidden = tell(start, {"a": [1, 2], "b": ["x", "y"]}, lambda f: 0.01 if f["a"] == 2 and f["b"] == "y" else 1.0)  # fmt: skip # noqa: E501
    assert hidden.flags == {"a": 2, "b": "y", "c": False}
    # What no value makes small is not told, and the start stays.
    kept = tell(start, choices, lambda flags: 0.6 if flags["a"] == 2 else 0.9)
    assert kept.flags == start and not kept.trained and not kept.is_clear("a")
    some = tell(start, choices, lambda flags: 0.3 if flags["a"] == 2 else 0.9, enough=0.1)
    assert some.flags == start and not some.trained
    # A value without effect is not told.
    same = tell(start, choices, lambda flags: 0.01 if flags["a"] == 2 else 0.9)
    assert same.is_clear("a") and not same.is_clear("b")
    assert tell(start, choices, lambda flags: None) is None


def test_heads():
    assert Heads(number=4).of(512) == 128 and Heads(64).of(512) == 64
    with pytest.raises(InputError, match="num_heads 3 does not divide 32 channels"):
        Heads(number=3).of(32)
    # Of equal effect one alone is tried, the first.
    assert choices([16], Heads(8)) == [Heads(8), Heads(16), Heads(number=4), Heads(number=8)]
    assert choices([], Heads(8)) == []
    network = {"unet": {"attention_head_dim": 8}}
    assert Heads(number=4).put(network) == {"unet": {"attention_head_dim": None}, "heads": 4}


@pytest.mark.parametrize(
    ("heads", "words"),
    [(0, "positive"), ("4", "positive"), (3, "do not divide"), (True, "positive")],
)
def test_bad_heads_on_a_card(heads, words):
    unet = UNET | {"attention_head_dim": None}
    with pytest.raises(InputError, match=words):
        build_network({"patch": 1, "unet": unet, "heads": heads})
    with pytest.raises(InputError, match="exclude each other"):
        build_network({"patch": 1, "unet": UNET, "heads": 2})


def test_every_flag_of_a_bare_file_that_nothing_tells_is_assumed(tmp_path):
    """Several wrong ones at once are not found by noise: each stands on the card at least."""
    torch.manual_seed(0)
    unusual = {"norm_eps": 1e-6, "act_fn": "gelu", "flip_sin_to_cos": False, "freq_shift": 1}
    unusual |= {"downsample_padding": 0, "center_input_sample": True, "norm_num_groups": 2}
    network = UNet2DModel(**(UNET | unusual))
    save_file(network.state_dict(), tmp_path / "a.safetensors")
    assumed = drafts.file(tmp_path / "a.safetensors", {"sample_size": 16}).assumed
    for name in {*unet_shapes.OPEN, *unet_shapes.TIME, "attention_head_dim"} - {"time"}:
        (line,) = [text for text in assumed if f"--set {name}=" in text]
        assert "the weights do not tell" in line
