"""The map from ADM's names onto UNet2DModel, against an independent network of plain functions."""

import dataclasses

import pytest
import torch
from helpers.adm_reference import Flags, Reference, weights
from helpers.tiny import write_cards
from safetensors.torch import save_file

from bench.core.errors import InputError
from bench.models.cards import load_cards, verify
from bench.models.networks import build_network
from bench.models.sources import adm, adm_names, telling
from bench.models.sources.heads import Heads
from bench.system import store

CIFAR10 = Flags(blocks=2)
LSUN = Flags(size=64, multiples=(1, 2, 3, 4), attention=(32, 16, 8), head=16, blocks=1)
SMALL = Flags(size=16, multiples=(1, 2), blocks=1, attention=(8,), head=16)
FULL_CIFAR10 = dataclasses.replace(CIFAR10, channels=128, blocks=3)
FULL_LSUN = dataclasses.replace(LSUN, channels=192, head=64, blocks=3)
IDDPM = {"resblock_updown": False, "new_order": False}

# The flags of the recipes of CIFAR-10, LSUN at 64 pixels and FFHQ at 64 pixels (which are those of
# LSUN), with a quarter or a sixth of their channels and fewer blocks, in both attention orders,
# with and without learned variance and classes; and what else people have.
TABLE = {
    f"{title}, {order} order, {variance} variance, {classes} classes": dataclasses.replace(
        flags, new_order=order == "new", learn_sigma=variance == "learned", classes=classes
    )
    for title, flags in (("cifar10", CIFAR10), ("lsun and ffhq", LSUN))
    for order in ("new", "legacy")
    for variance in ("learned", "fixed")
    for classes in (0, 10)
} | {
    "iddpm": dataclasses.replace(CIFAR10, head=16, **IDDPM),
    "no scale-shift": dataclasses.replace(CIFAR10, scale_shift=False),
    # num_heads of ADM's default flags, over attention of two and of three widths.
    "four heads": dataclasses.replace(CIFAR10, multiples=(1, 2, 3, 4), heads=4),
    "four heads, legacy order": dataclasses.replace(
        LSUN, channels=32, attention=(16, 8), heads=4, new_order=False
    ),
}
FULL = {
    "cifar10": FULL_CIFAR10,
    "cifar10 legacy order": dataclasses.replace(FULL_CIFAR10, new_order=False),
    "lsun and ffhq": FULL_LSUN,
    "lsun and ffhq legacy order": dataclasses.replace(FULL_LSUN, new_order=False),
}


def order_of(flags):
    return "new" if flags.new_order else "legacy"


def heads_of(flags):
    return Heads(number=flags.heads) if flags.heads else Heads(flags.head)


def config_of(state, flags):
    return {
        "shape": [3, flags.size, flags.size],
        "schedule": "cosine",
        "learns_variance": flags.learn_sigma,
        "attention_order": order_of(flags),
        "network": adm_names.network(state, heads_of(flags), flags.size),
    }


def write(folder, flags, state=None, **changes):
    """Write a checkpoint as OpenAI does and its card; return the verified card."""
    state = weights(flags) if state is None else state
    path = folder / "ema_0.9999_500000.pt"
    torch.save(state, path)
    entry = {
        "name": "adm",
        "family": "adm",
        "method": "ema",
        "source": "adm",
        "uri": path.name,
        "sha256": store.sha256(path),
        "dataset": "cifar10",
        "config": config_of(weights(flags), flags) | {"weights": "ema"} | changes,
    }
    (card,) = load_cards(write_cards(folder, [entry]))
    return verify(card)


def differences(flags, folder):
    """Largest difference of a loaded checkpoint to the reference; of the other order; spread."""
    state = weights(flags)
    denoiser = adm.load(write(folder, flags, state))
    x = torch.randn(2, 3, flags.size, flags.size, generator=torch.Generator().manual_seed(1))
    t, labels = torch.tensor([3, 950]), torch.tensor([flags.classes // 2, flags.classes - 1])
    other = build_network(adm_names.network(state, heads_of(flags), flags.size)).eval()
    wrong = adm_names.rename(state, "legacy" if flags.new_order else "new", heads_of(flags))
    other.load_state_dict({f"unet.{name}": value for name, value in wrong.items()})
    with torch.inference_mode():
        expected = Reference(state, flags)(x, t, labels if flags.classes else None)
        code = t + 1000 * labels if flags.classes else t
        right, wrong = denoiser.model(x, code), other(x, code)
    return (
        float((right - expected).abs().max()),
        float((wrong - expected).abs().max()),
        float(expected.std()),
    )


# Of the larger network two opposite cases; the others are slow.
FAST = [name for name in TABLE if not name.startswith("lsun")] + [
    "lsun and ffhq, new order, learned variance, 0 classes",
    "lsun and ffhq, legacy order, fixed variance, 10 classes",
]
CASES = [pytest.param(n, marks=[] if n in FAST else [pytest.mark.slow]) for n in TABLE]


@pytest.mark.parametrize("name", CASES)
def test_the_map_is_exact(name, tmp_path):
    right, wrong, spread = differences(TABLE[name], tmp_path)
    assert spread > 0.1
    assert right <= 1e-4
    # The comparison would see the other order, with which everything loads too.
    assert wrong > 0.1


@pytest.mark.slow
@pytest.mark.parametrize("name", FULL)
def test_the_map_is_exact_at_full_size(name, tmp_path):
    right, wrong, _ = differences(FULL[name], tmp_path)
    assert right <= 1e-4
    assert wrong > 0.1


def test_full_size_is_that_of_the_recipes():
    from bench.models.training.recipes import RECIPES

    for name, flags in (("adm-cifar10", FULL_CIFAR10), ("adm-lsun64", FULL_LSUN)):
        with torch.device("meta"):
            recipe = {
                k: v.shape for k, v in build_network(RECIPES[name].network).state_dict().items()
            }
        renamed = adm_names.rename(weights(flags, seed=None), "new", Heads(flags.head))
        assert {f"unet.{k}": v.shape for k, v in renamed.items()} == recipe


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"layers_per_block": 2}, "the card says layers_per_block: 2, the weights have 1"),
        ({"block_out_channels": [32, 32]}, "block_out_channels"),
        ({"resnet_time_scale_shift": "default"}, "resnet_time_scale_shift: default"),
        ({"attn_norm_num_groups": None}, "attn_norm_num_groups: None, the weights have 32"),
        ({"downsample_type": "conv"}, "downsample_type: conv"),
        (
            {"down_block_types": ["AttnDownBlock2D", "ResnetDownsampleBlock2D"]},
            "down_block_types",
        ),
        ({"num_class_embeds": 10}, "num_class_embeds: 10"),
        ({"attention_head_dim": 48}, "48 does not divide 64 channels"),
    ],
)
def test_a_wrong_flag_is_named(tmp_path, change, words):
    network = adm_names.network(weights(SMALL), Heads(SMALL.head), SMALL.size)
    unet = network["unet"] | change
    with pytest.raises(InputError, match=words):
        adm.load(write(tmp_path, SMALL, network={"patch": 1, "unet": unet}))


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"attention_order": "old"}, "attention_order must be new or legacy"),
        ({"learns_variance": False}, "set out_channels"),
        ({"weights": "swa"}, "weights swa contradict method 'ema'"),
        ({"stored": "float16"}, "stored in float32: say so"),
    ],
)
def test_a_wrong_config_is_named(tmp_path, change, words):
    with pytest.raises(InputError, match=words):
        adm.load(write(tmp_path, SMALL, **change))


LEARNT = Flags(size=8, multiples=(1,), blocks=1, attention=(8,), head=16)


@pytest.fixture(scope="module")
def trained():
    """A small network that knows that x_T is noise, as every trained one does, in ADM's names."""
    torch.manual_seed(0)
    tensors = weights(LEARNT)
    for name, value in tensors.items():
        # Attention decides much from the first update on.
        value *= 3 if "qkv.weight" in name else 6 if "proj_out.weight" in name else 1
        value.requires_grad_()
    optimizer, network = torch.optim.Adam(tensors.values(), 3e-3), Reference(tensors, LEARNT)
    for _ in range(45):
        x = torch.randn(8, 3, 8, 8)
        loss = (network(x, torch.full((8,), 999))[:, :3] - x).square().mean()
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    assert loss < 0.4
    return {name: value.detach() for name, value in tensors.items()}


def test_flags_that_do_not_show_in_the_shapes_are_found_out(trained, tmp_path):
    adm.load(write(tmp_path, LEARNT, trained))
    with pytest.raises(
        InputError, match=r"attention_order: legacy, .* fit attention_order: new, "
    ):
        adm.load(write(tmp_path, LEARNT, trained, attention_order="legacy"))
    config = config_of(trained, LEARNT) | {"timesteps": 1000}
    start = adm.start_flags(config | {"attention_order": "legacy"})
    choices = {"attention_order": adm.ORDERS, "heads": [Heads(16), Heads(32), Heads(8)]}
    told = telling.tell(start, choices, adm.errors(trained, config))
    assert told.trained and told.flags["attention_order"] == "new"
    assert told.flags["heads"] == Heads(16) and told.is_clear("heads")


def test_an_untrained_network_tells_nothing(tmp_path):
    config = config_of(weights(LEARNT), LEARNT) | {"timesteps": 1000}
    start = adm.start_flags(config | {"attention_order": "legacy"})
    choices = {"attention_order": adm.ORDERS}
    told = telling.tell(start, choices, adm.errors(weights(LEARNT), config))
    assert not told.trained and told.flags == start


def test_a_missing_weight_and_a_foreign_one_are_refused(tmp_path):
    state = weights(SMALL)
    lacking = {k: v for k, v in state.items() if k != "middle_block.1.norm.weight"}
    with pytest.raises(InputError, match="do not fit"):
        adm.load(write(tmp_path, SMALL, lacking))
    with pytest.raises(InputError, match="weight extra is not of an ADM network"):
        adm.load(write(tmp_path, SMALL, state | {"extra.weight": torch.zeros(3)}))
    with pytest.raises(InputError, match="not the weights of an ADM network"):
        adm.load(write(tmp_path, SMALL, {"conv_in.weight": torch.zeros(3)}))


def test_half_precision_is_computed_in_float32(tmp_path):
    half = {name: value.half() for name, value in weights(SMALL).items()}
    denoiser = adm.load(write(tmp_path, SMALL, half, stored="float16"))
    value = denoiser.model.unet.conv_in.weight
    assert value.dtype == torch.float32
    assert torch.equal(value, half["input_blocks.0.0.weight"].float())


def test_safetensors_under_the_same_names(tmp_path):
    card = write(tmp_path, SMALL)
    path = tmp_path / "same.safetensors"
    save_file({k: v.contiguous() for k, v in weights(SMALL).items()}, path)
    card = verify(dataclasses.replace(card, uri=str(path), sha256=""))
    assert adm.load(card).learns_variance
