"""Weights as training code writes them: a round trip through `bench import` and the card.

Each container is built as its library builds it, around a small network, and must give the very
outputs of that network, the right kind of weights and method, and a card that says what was
assumed and what was passed over.
"""

import argparse
import copy
from collections import OrderedDict
from pathlib import Path

import numpy as np
import pytest
import torch
from helpers.folders import UNET
from safetensors.torch import save_file
from torch import nn
from torch.optim.swa_utils import AveragedModel, get_ema_avg_fn

from bench.core import extensions
from bench.core.errors import InputError
from bench.evaluation import importing
from bench.models.cards import load_cards, verify
from bench.models.sources import state_dicts
from bench.system.quiet import quiet_import

with quiet_import():
    from diffusers import DDIMScheduler, DDPMScheduler, UNet2DModel
    from diffusers.training_utils import EMAModel

SIZE = {"sample_size": "16", "attention_head_dim": "8"}


def make(seed, **changes):
    torch.manual_seed(seed)
    return UNet2DModel(**(UNET | {"norm_num_groups": 8} | changes)).eval()


@pytest.fixture(scope="module")
def raw():
    return make(1)


@pytest.fixture(scope="module")
def average():
    return make(2)


@pytest.fixture
def imported(tmp_path, capsys, monkeypatch):
    """Save content, import it, load the card; returns (card, denoiser, comments of the card)."""
    # What the errors on noise find out has tests of its own.
    monkeypatch.setattr("bench.models.sources.telling.tell", lambda *arguments: None)

    def run(content, name="file.ckpt", dataset="cifar10", method="", **fields):
        path = tmp_path / name
        path.parent.mkdir(parents=True, exist_ok=True)
        if content is not None:
            torch.save(content, path)
        card = tmp_path / name.partition("/")[0] / "card.yaml" if "/" in name else None
        card = card or tmp_path / "card.yaml"
        card.unlink(missing_ok=True)
        capsys.readouterr()
        config = {name: text for name, text in (SIZE | fields).items() if text is not None}
        given = importing.Given(dataset=dataset, method=method, config=config)
        importing.write_card(str(path), given, card)
        (found,) = load_cards(card)
        text = "".join(f"{line}\n" for line in capsys.readouterr().out.splitlines() if "#" in line)
        return found, extensions.lookup("sources", found.source)(verify(found)), text

    return run


def same(denoiser, network):
    x, t = torch.randn(2, 3, 16, 16, generator=torch.Generator().manual_seed(0)), torch.tensor
    with torch.no_grad():
        expected = network(x, t([3, 900])).sample
        return torch.allclose(denoiser.model(x, t([3, 900])), expected, atol=1e-5)


class Module(nn.Module):
    """A LightningModule: the network is one of its attributes, and it has other layers."""

    def __init__(self, network, name="net"):
        super().__init__()
        self.add_module(name, network)
        self.loss = nn.Linear(2, 2)


class Diffusion(nn.Module):
    """lucidrains' GaussianDiffusion: the network is `model`, the schedule lies in buffers."""

    def __init__(self, network, objective="pred_noise", timesteps=500):
        super().__init__()
        self.model = network
        betas = torch.linspace(1e-3, 0.03, timesteps, dtype=torch.float64)
        powers = (1 - betas).cumprod(0)
        snr = powers / (1 - powers)
        weights_of = {
            "pred_noise": snr.clamp(max=5) / snr,
            "pred_x0": snr.clamp(max=5),
            "pred_v": snr.clamp(max=5) / (snr + 1),
        }
        for name, value in {
            "betas": betas,
            "alphas_cumprod": powers,
            "alphas_cumprod_prev": torch.cat([powers.new_ones(1), powers[:-1]]),
            "sqrt_alphas_cumprod": powers.sqrt(),
            "log_one_minus_alphas_cumprod": (1 - powers).log(),
            "posterior_mean_coef1": betas,
            "loss_weight": weights_of[objective],
        }.items():
            self.register_buffer(name, value.float())


def ema_pytorch(online, average):
    """The state dict of ema_pytorch's EMA."""
    state = {"initted": torch.tensor([True]), "step": torch.tensor([7])}
    state |= {f"online_model.{k}": v for k, v in online.state_dict().items()}
    return state | {f"ema_model.{k}": v for k, v in average.state_dict().items()}


def lucidrains(raw, average, objective="pred_noise"):
    online, ema = Diffusion(raw, objective), Diffusion(average, objective)
    return {
        "step": 70,
        "model": online.state_dict(),
        "opt": torch.optim.Adam(raw.parameters()).state_dict(),
        "ema": ema_pytorch(online, ema),
        "scaler": None,
        "version": "2.1.0",
    }


def test_lucidrains_trainer(imported, raw, average):
    content = lucidrains(raw, average)
    with pytest.raises(InputError, match=r"must be one of ema, raw, .*ema: ema.ema_model.model"):
        imported(content)
    for kind, network, method in (("ema", average, "ema"), ("raw", raw, "baseline")):
        card, denoiser, text = imported(content, weights=kind)
        assert (card.method, card.config["weights"]) == (method, kind)
        assert card.config["schedule"] == "file" and card.config["timesteps"] == 500
        assert same(denoiser, network)
        expected = content["model"]["alphas_cumprod"]
        torch.testing.assert_close(denoiser.alpha_bar, expected, rtol=1e-5, atol=1e-7)
        assert "the noise schedule is that of the betas in the file" in text
        for name in ("step", "opt", "version"):
            assert name in text
    with pytest.raises(InputError, match="not the schedule that lies in the file"):
        imported(content, weights="ema", schedule="linear", timesteps="500")


@pytest.mark.parametrize(
    ("objective", "predicts"),
    [("pred_noise", "epsilon"), ("pred_x0", "sample"), ("pred_v", "v_prediction")],
)
def test_the_loss_weights_tell_what_is_predicted(imported, raw, average, objective, predicts):
    _, denoiser, text = imported(lucidrains(raw, average, objective), weights="ema")
    assert denoiser.predicts == predicts
    assert f"predicts {predicts}, by the weights of the loss" in text


def test_ema_pytorch(imported, raw, average):
    card, denoiser, _ = imported(ema_pytorch(raw, average), weights="ema")
    assert card.method == "ema" and same(denoiser, average)
    only = {k: v for k, v in ema_pytorch(raw, average).items() if "online" not in k}
    assert same(imported(only)[1], average)


def lightning(raw, average, callback, **parameters):
    """A checkpoint of Lightning's WeightAveraging callback, as its on_save_checkpoint makes it."""
    module = Module(raw)
    averaged = AveragedModel(module, **parameters)
    averaged.module.net.load_state_dict(average.state_dict())
    state = averaged.state_dict()
    return {
        "epoch": 3,
        "global_step": 700,
        "pytorch-lightning_version": "2.6.0",
        "state_dict": {k[7:]: v for k, v in state.items() if k.startswith("module.")},
        "loops": {"fit_loop": {"state_dict": {}}},
        "callbacks": {
            callback: {"latest_update_step": 700},
            "ModelCheckpoint{'monitor': None}": {},
        },
        "optimizer_states": [torch.optim.Adam(raw.parameters()).state_dict()],
        "lr_schedulers": [],
        "current_model_state": module.state_dict(),
        "averaging_state": {k: v for k, v in state.items() if not k.startswith("module.")},
    }


def test_lightning_averages(imported, raw, average):
    content = lightning(
        raw, average, "EMAWeightAveraging", multi_avg_fn=None, avg_fn=get_ema_avg_fn(0.9)
    )
    for kind, network, method in (("ema", average, "ema"), ("raw", raw, "baseline")):
        card, denoiser, text = imported(content, weights=kind)
        assert card.method == method and same(denoiser, network)
        assert "state_dict.loss" in text and "optimizer_states" in text
    with pytest.raises(InputError, match=r"must be one of ema, raw.*ema: state_dict.net"):
        imported(content)
    with pytest.raises(InputError, match=r"not swa"):
        imported(content, weights="swa")
    plain = lightning(raw, average, "WeightAveraging")
    assert same(imported(plain, weights="swa")[1], average)
    assert imported(plain, weights="ema")[0].method == "ema"
    assert same(imported(plain, weights="raw")[1], raw)


def test_lightning_after_the_training_must_be_told(imported, raw, average):
    """Saved after fit, the average lies in state_dict and nothing else says so."""
    content = lightning(raw, average, "EMAWeightAveraging")
    del content["current_model_state"], content["averaging_state"]
    with pytest.raises(InputError, match="may hold the average of a callback"):
        imported(content)
    assert imported(content, weights="ema")[0].method == "ema"
    del content["callbacks"]
    card, denoiser, _ = imported(content)
    assert card.method == "baseline" and "weights" not in card.config and same(denoiser, average)


def test_the_old_swa_callback_of_lightning(imported, raw, average):
    content = {
        "state_dict": Module(raw).state_dict(),
        "callbacks": {
            "StochasticWeightAveraging": {
                "n_averaged": 3,
                "average_model_state": Module(average).state_dict(),
            }
        },
    }
    card, denoiser, _ = imported(content, weights="swa")
    assert card.method == "swa" and same(denoiser, average)


def callback_of(raw, average, content):
    """A checkpoint of Lightning with an average that a callback keeps itself."""
    return {"state_dict": Module(raw).state_dict(), "callbacks": {"EMA": content(average)}}


@pytest.mark.parametrize(
    "content",
    [
        lambda network: {"ema_weights": list(network.parameters()), "cur_step": 3},
        lambda network: {"ema_state_dict": Module(network).state_dict(), "decay": 0.999},
    ],
)
def test_a_callback_that_keeps_its_average(imported, raw, average, content):
    """As NeMo's: what lies in state_dict is raw, and never given as ema."""
    with torch.no_grad():
        made = callback_of(raw, average, content)
    for kind, network in (("ema", average), ("raw", raw)):
        _, denoiser, _ = imported(made, weights=kind)
        assert same(denoiser, network)
    with pytest.raises(
        InputError, match=r"must be one of ema, raw, .* \(raw: state_dict.net; ema"
    ):
        imported(made)


def test_an_average_that_was_swapped_in_is_no_raw_weights(imported, raw, average):
    """Lightning's checkpoints are written within a validation too, when callbacks have swapped."""
    made = callback_of(
        average, average, lambda network: {"ema_state_dict": Module(network).state_dict()}
    )
    assert same(imported(made, weights="ema")[1], average)
    with pytest.raises(InputError, match="not raw"):
        imported(made, weights="raw")


LISTED = {
    "parameters": lambda raw, ema: {"ema": list(ema.parameters())},
    "named parameters": lambda raw, ema: {"ema_params": list(ema.parameters())},
    "pair": lambda raw, ema: {"ema": (ema.state_dict(), 0.999)},
    "list": lambda raw, ema: {"emas": [ema.state_dict()], "decays": [0.999]},
    "Composer": lambda raw, ema: {
        "algorithms": [("EMA", {"ema_model": {"named_parameters_dict": ema.state_dict()}})]
    },
    "optimizer": lambda raw, ema: {
        "optimizer_states": [{"opt": {"param_groups": []}, "ema": list(ema.parameters())}]
    },
}


@pytest.mark.parametrize("name", LISTED)
def test_averages_in_lists(imported, raw, average, name):
    """Also in a folder named after them: the raw weights beside them are never called ema."""
    with torch.no_grad():
        made = {"model": raw.state_dict(), **LISTED[name](raw, average)}
    place = "run_ema/model.pt"
    assert same(imported(made, place, weights="ema")[1], average)
    assert same(imported(made, place, weights="raw")[1], raw)
    with pytest.raises(InputError, match=r"must be one of ema, raw"):
        imported(made, place)


@pytest.mark.parametrize("name", ["target_model", "teacher", "best_model"])
def test_two_networks_of_which_no_word_tells_the_average(imported, raw, average, name):
    made = {"model": raw.state_dict(), name: average.state_dict()}
    with pytest.raises(InputError, match=rf"no word tells .*: model, {name}: .*--set part=NAME"):
        imported(made)
    card, denoiser, _ = imported(made, part=name, weights="ema")
    assert card.method == "ema" and same(denoiser, average)
    assert same(imported(made, part="model")[1], raw)


def test_the_words_of_a_refusal_can_be_said(imported, raw, average):
    """An average of which it is not said which is asked for in words that --set takes."""
    made = {"model": raw.state_dict(), "averaged_model": average.state_dict()}
    with pytest.raises(InputError, match=r"one of ema, raw, swa, .*; ema or swa: averaged_model"):
        imported(made)
    assert same(imported(made, weights="swa")[1], average)


NESTED = {
    "timm": ("state_dict", "state_dict_ema", "ema"),
    "k-diffusion": ("model", "model_ema", "ema"),
    "ema_state_dict": ("model", "ema_state_dict", "ema"),
    "model_state_dict": ("model_state_dict", "ema_model_state_dict", "ema"),
    "swa": ("model", "swa_state_dict", "swa"),
    "DiT": ("model", "ema", "ema"),
    "StyleGAN": ("G", "G_ema", "ema"),
    "net": ("net", "net_ema", "ema"),
    "shadow": ("unet", "shadow", "ema"),
    "camel case": ("unet", "unetEMA", "ema"),
}


@pytest.mark.parametrize("name", NESTED)
def test_two_networks_side_by_side(imported, raw, average, name):
    first, second, kind = NESTED[name]
    content = {
        first: raw.state_dict(),
        second: average.state_dict(),
        "optimizer": torch.optim.Adam(raw.parameters()).state_dict(),
        "epoch": 4,
    }
    with pytest.raises(InputError, match=f"{second}.*does not say which"):
        imported(content)
    card, denoiser, text = imported(content, weights=kind)
    assert card.method == kind and same(denoiser, average)
    assert f"the weights are those of {second} in the file" in text
    assert "passed over in the file: optimizer, epoch" in text
    card, denoiser, _ = imported(content, weights="raw")
    assert card.method == "baseline" and same(denoiser, raw)


def test_several_averages_are_asked_for_by_name(imported, raw, average):
    content = {
        "model": raw.state_dict(),
        "ema_0": average.state_dict(),
        "ema_1": make(5).state_dict(),
    }
    with pytest.raises(InputError, match="several ema: ema_0, ema_1: name one"):
        imported(content, weights="ema")
    card, denoiser, _ = imported(content, weights="ema", part="ema_0")
    assert card.config["part"] == "ema_0" and same(denoiser, average)
    with pytest.raises(InputError, match="no part 'ema_7' in the file"):
        imported(content, weights="ema", part="ema_7")


def wrapped(state, *words):
    """Names as wrappers of torch make them: at the front and around the blocks."""
    front = "".join(f"{word}." for word in words)
    inner = {k.replace("resnets.0.", "resnets.0._checkpoint_wrapped_module."): v for k, v in state}
    return {front + name: value for name, value in inner.items()}


@pytest.mark.parametrize(
    "words",
    [
        ("_orig_mod", "module"),
        ("module", "_orig_mod"),
        ("_fsdp_wrapped_module",),
        ("_fsdp_wrapped_module", "_orig_mod", "unet"),
        ("module", "model", "_orig_mod"),
    ],
)
def test_wrappers_in_any_order(imported, raw, words):
    assert same(imported(wrapped(raw.state_dict().items(), *words))[1], raw)


def test_deepspeed(imported, raw):
    content = {
        "module": raw.state_dict(),
        "buffer_names": [],
        "optimizer": None,
        "ds_config": {},
        "ds_version": "0.15.1",
        "global_steps": 5,
    }
    assert same(imported(content, "mp_rank_00_model_states.pt")[1], raw)
    shard = {
        "optimizer_state_dict": {
            "zero_stage": 2,
            "single_partition_of_fp32_groups": [torch.zeros(9)],
        },
        "ds_config": {},
        "ds_version": "0.15.1",
    }
    for content in (shard, {"ds_version": "0.15.1", "param_shapes": [], "module_sd": None}):
        with pytest.raises(InputError, match=r"DeepSpeed's ZeRO: .* zero_to_fp32"):
            imported(content, "zero_pp_rank_0_mp_rank_00_optim_states.pt")


def test_ddim_list(imported, raw, average):
    optimizer = torch.optim.Adam(raw.parameters()).state_dict()
    content = [raw.state_dict(), optimizer, 7, 1000]
    assert same(imported(content, "ckpt.pth")[1], raw)
    ema = {name: p.detach() for name, p in average.named_parameters()}
    content.append(ema)
    card, denoiser, _ = imported(content, "ckpt.pth", weights="ema")
    assert card.method == "ema" and same(denoiser, average)
    assert same(imported(content, "ckpt.pth", weights="raw")[1], raw)


@pytest.mark.parametrize("prefix", ["", "module."])
def test_score_sde(imported, raw, average, prefix):
    """The average is a list in the order of the parameters; its names are those of the model."""
    state = {f"{prefix}{name}": value for name, value in raw.state_dict().items()}
    content = {
        "optimizer": torch.optim.Adam(raw.parameters()).state_dict(),
        "model": OrderedDict([(f"{prefix}sigmas", torch.rand(10)), *state.items()]),
        "ema": {
            "decay": 0.999,
            "num_updates": 7,
            "shadow_params": [p.detach() for p in average.parameters()],
        },
        "step": 7,
    }
    card, denoiser, _ = imported(content, "checkpoint_8.pth", weights="ema")
    assert card.method == "ema" and same(denoiser, average)
    content["ema"]["shadow_params"].pop()
    with pytest.raises(InputError, match="a list without names"):
        imported(content, "checkpoint_8.pth", weights="ema")


def test_a_list_alone_still_needs_a_card_by_hand(imported, raw):
    with pytest.raises(InputError, match=r"without names .* weights: ema"):
        imported(EMAModel(raw.parameters()).state_dict(), "custom_checkpoint_0.pkl")


@pytest.mark.parametrize("value", [5, None, [], [1, 2], "words", {"a": 3}])
def test_a_list_that_is_none(imported, value):
    with pytest.raises(InputError, match="holds no weights"):
        imported({"shadow_params": value})


def test_latent_diffusion_s_average_without_dots(imported, raw, average):
    """LitEma takes the dots out of all names."""
    state = {f"model.diffusion_model.{k}": v for k, v in raw.state_dict().items()}
    short = {
        "model_ema.decay": torch.tensor(0.999),
        "model_ema.num_updates": torch.tensor(3),
    }
    for name, value in average.named_parameters():
        short["model_ema." + f"diffusion_model.{name}".replace(".", "")] = value.detach()
    buffers = {k: v for k, v in Diffusion(raw).state_dict().items() if "." not in k}
    content = {"state_dict": state | short | buffers, "global_step": 5}
    card, denoiser, _ = imported(content, weights="ema")
    assert card.method == "ema" and same(denoiser, average)
    assert card.config["schedule"] == "file" and len(denoiser.alpha_bar) == 500
    assert same(imported(content, weights="raw")[1], raw)
    content["state_dict"]["first_stage_model.encoder.conv_in.weight"] = torch.zeros(2, 3, 3, 3)
    with pytest.raises(InputError, match=r"latent-diffusion, whose images are latents"):
        imported(content, weights="raw")


def test_averaged_model_of_torch(imported, raw, average):
    averaged = AveragedModel(raw)
    averaged.module.load_state_dict(average.state_dict())
    card, denoiser, text = imported(averaged.state_dict())
    assert card.method == "swa" and same(denoiser, average)
    assert "weights swa: the file is of torch's AveragedModel" in text
    assert imported(averaged.state_dict(), weights="ema")[0].method == "ema"
    content = {"model": raw.state_dict(), "ema": averaged.state_dict()}
    assert same(imported(content, weights="ema")[1], average)


@pytest.mark.parametrize(
    ("name", "kind", "method"),
    [
        ("model.non_ema.pt", "raw", "baseline"),
        ("model-noema.pt", "raw", "baseline"),
        ("model-EMA.ckpt", "ema", "ema"),
        ("v1-emaonly.pt", "ema", "ema"),
        ("unetEMA.pt", "ema", "ema"),
        ("ema_0.9999_500000.pt", "ema", "ema"),
        ("swa_last.pt", "swa", "swa"),
        ("cinema.pt", None, "baseline"),
        ("ema_or_swa.pt", None, "baseline"),
        ("unet_ema/diffusion_pytorch_model.bin", "ema", "ema"),
        ("unet/diffusion_pytorch_model.bin", None, "baseline"),
        ("run/pytorch_model.bin", None, "baseline"),
    ],
)
def test_kinds_by_the_name_of_a_file(imported, raw, name, kind, method):
    content = {"state_dict": raw.state_dict(), "epoch": 1} if "EMA.ckpt" in name else None
    card, _, text = imported(content or raw.state_dict(), name)
    assert (card.config.get("weights"), card.method) == (kind, method)
    assert ("by the name of the file" in text) == (kind is not None)
    assert f"method {method}" in text


def test_settings_beside_the_weights_are_passed_over(imported, raw):
    content = {
        "model": raw.state_dict(),
        "args": argparse.Namespace(lr=1e-4, out=Path("/x")),
        "best": np.float64(0.3),
        "table": np.arange(3),
        "shape": torch.Size([3]),
        "dtype": torch.float16,
    }
    _, denoiser, text = imported(content)
    assert same(denoiser, raw)
    for name in ("args", "best", "table"):
        assert name in text


def test_half_double_and_mixed_precision(imported, raw):
    state = raw.state_dict()
    for dtype in (torch.float16, torch.bfloat16, torch.float64):
        stored = {name: value.to(dtype) for name, value in state.items()}
        card, denoiser, _ = imported(stored)
        assert card.config["stored"] == str(dtype).removeprefix("torch.")
        expected = copy.deepcopy(raw)
        expected.load_state_dict({k: v.float() for k, v in stored.items()})
        assert same(denoiser, expected)
    mixed = {k: v.half() if v.ndim > 1 else v for k, v in state.items()}
    card, denoiser, text = imported(mixed)
    assert card.config["stored"] == "mixed" and "several precisions" in text
    expected.load_state_dict({k: v.float() for k, v in mixed.items()})
    assert same(denoiser, expected)


def test_names_of_attention_before_diffusers_0_15(imported, raw):
    """As published files of google/ddpm have them."""
    old = {"to_q": "query", "to_k": "key", "to_v": "value", "to_out.0": "proj_attn"}
    state = {}
    for name, value in raw.state_dict().items():
        for new, word in old.items():
            name = name.replace(f".{new}.", f".{word}.")
        state[name] = value
    assert any(".proj_attn." in name for name in state)
    assert same(imported(state)[1], raw)


def describe(folder, scheduler, network=None):
    scheduler.save_config(folder)
    if network is not None:
        network.save_config(folder)


def test_the_scheduler_beside_a_file_is_used(imported, raw, tmp_path):
    scheduler = DDIMScheduler(
        400, beta_schedule="scaled_linear", prediction_type="v_prediction", clip_sample_range=2.0
    )
    describe(tmp_path, scheduler)
    card, denoiser, text = imported(raw.state_dict(), "diffusion_pytorch_model.bin")
    assert same(denoiser, raw) and denoiser.predicts == "v_prediction"
    assert torch.equal(denoiser.alpha_bar, scheduler.alphas_cumprod)
    assert denoiser.clip_range == 2.0
    assert "the noise schedule is that of scheduler_config.json beside the file" in text
    assert "schedule" not in card.config and "cosine" not in text
    with pytest.raises(InputError, match=r"--set schedule: .*scheduler_config.json decides it"):
        imported(raw.state_dict(), "diffusion_pytorch_model.bin", schedule="cosine")
    (tmp_path / "scheduler_config.json").write_text('{"_class_name": "LCMScheduler"}')
    with pytest.raises(InputError, match="LCMScheduler, which is not supported"):
        imported(raw.state_dict(), "diffusion_pytorch_model.bin")


def test_a_component_of_a_pipeline(imported, raw, tmp_path):
    DDPMScheduler(300, beta_schedule="linear").save_config(tmp_path / "pipe" / "scheduler")
    raw.save_config(tmp_path / "pipe" / "unet")
    name = "pipe/unet/diffusion_pytorch_model.safetensors"
    save_file(raw.state_dict(), tmp_path / name)
    card, denoiser, text = imported(None, name, attention_head_dim=None)
    assert same(denoiser, raw) and len(denoiser.alpha_bar) == 300
    assert card.source == "safetensors"
    assert "the network is that of config.json beside the file" in text


@pytest.mark.parametrize(
    "settings",
    [
        '{"batchSize": 16, "learningRate": 0.001, "epochs": 100, "device": "cuda"}',
        '{"in_channels": 4, "model": "diff_unet", "scheduler": "cosine", "lr": 1e-4}',
        "[1, 2]",
        "null",
    ],
)
def test_the_settings_of_a_training_are_not_used(imported, raw, tmp_path, settings):
    (tmp_path / "config.json").write_text(settings)
    _, denoiser, text = imported(raw.state_dict())
    assert same(denoiser, raw)
    assert "config.json beside the file describes no network of diffusers: not used" in text


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("{", "config.json beside the weights cannot be read"),
        ("[" * 100_000, "config.json beside the weights cannot be read"),
        ('{"_class_name": "UNet2DConditionModel"}', "describes a UNet2DConditionModel"),
        ('{"_class_name": "VQModel"}', "describes a VQModel"),
    ],
)
def test_a_config_beside_the_file_that_is_of_no_use(imported, raw, tmp_path, text, words):
    (tmp_path / "config.json").write_text(text)
    with pytest.raises(InputError, match=words):
        imported(raw.state_dict())


def test_all_parts_are_kept_apart(tmp_path, raw, average):
    torch.save(lucidrains(raw, average), tmp_path / "model-7.pt")
    found = state_dicts.read(tmp_path / "model-7.pt")
    assert {(part.name, part.kind) for part in found.parts} == {
        ("model.model", "raw"),
        ("ema.online_model.model", "raw"),
        ("ema.ema_model.model", "ema"),
    }
