"""`bench import` as a user types it: the card that it writes loads, and says what it assumed."""

import shlex
from pathlib import Path

import pytest
import torch
import yaml
from helpers import commands
from helpers.adm_reference import Flags, weights
from helpers.fashion import fashion
from helpers.folders import UNET, edit, save_dit, save_unet
from safetensors.torch import save_file

from bench.cli import app
from bench.core import extensions
from bench.models.cards import load_cards, verify
from bench.system.quiet import quiet_import

with quiet_import():
    from diffusers import UNet2DModel
    from diffusers.training_utils import EMAModel

SMALL = Flags(size=16, multiples=(1, 2), blocks=1, attention=(8,), head=16)
SIZE = ("--set", "sample_size=16")


@pytest.fixture
def bench(monkeypatch, capsys):
    """Run `bench import WORDS...`; return (exit code, stdout, stderr)."""
    return commands.importing(monkeypatch, capsys)


def card(path):
    """The one card of a card file, verified and loaded."""
    (found,) = load_cards(path)
    return found, extensions.lookup("sources", found.source)(verify(found))


def refused(result, *words):
    code, stdout, stderr = result
    assert (code, stdout, len(stderr.splitlines())) == (2, "", 1)
    for word in words:
        assert word in stderr


@pytest.mark.parametrize(
    "changes",
    [
        {},
        {"new_order": False},
        {"classes": 10, "learn_sigma": False},
        {"resblock_updown": False, "scale_shift": False},
    ],
)
def test_adm(bench, tmp_path, changes):
    flags = Flags(**(SMALL.__dict__ | changes))
    path = tmp_path / "ema_0.9999_500000.pt"
    torch.save(weights(flags), path)
    order = "new" if flags.new_order else "legacy"
    fields = [*SIZE, "--set", "attention_head_dim=16"]
    fields += [] if flags.new_order else ["--set", "attention_order=legacy"]
    code, stdout, stderr = bench(path, "--dataset", "cifar10", *fields)
    assert code == 0
    assert "ema_0.9999_500000.yaml: loads" in stderr
    assert "# assumed: weights ema, by the name of the file" in stdout
    assert ("they seem untrained" in stdout) == flags.new_order
    assert yaml.safe_load(stdout) == yaml.safe_load(path.with_suffix(".yaml").read_text())
    found, denoiser = card(path.with_suffix(".yaml"))
    assert (found.source, found.method, found.config["weights"]) == ("adm", "ema", "ema")
    assert found.config["attention_order"] == order
    assert denoiser.classes == flags.classes
    assert denoiser.learns_variance == flags.learn_sigma


def save_plain(folder, **changes):
    """The weights of a `UNet2DModel` alone, without its config; returns it."""
    torch.manual_seed(0)
    network = UNet2DModel(**(UNET | changes))
    save_file(network.state_dict(), folder / "mine.safetensors")
    return network


@pytest.mark.parametrize(
    "changes",
    [
        {},
        {"num_class_embeds": 5},
        {"layers_per_block": 2, "out_channels": 6},
        {
            "down_block_types": ["ResnetDownsampleBlock2D", "AttnDownBlock2D"],
            "up_block_types": ["AttnUpBlock2D", "ResnetUpsampleBlock2D"],
            "downsample_type": "resnet",
            "upsample_type": "resnet",
            "resnet_time_scale_shift": "scale_shift",
            "attn_norm_num_groups": 4,
        },
    ],
)
def test_the_network_is_read_out_of_the_weights(bench, tmp_path, changes):
    network = save_plain(
        tmp_path,
        norm_num_groups=8,
        flip_sin_to_cos=True,
        freq_shift=0,
        **(
            changes | {"attn_norm_num_groups": 8} if "attn_norm_num_groups" in changes else changes
        ),
    ).eval()
    code, stdout, _ = bench(tmp_path / "mine.safetensors", *SIZE, "--dataset", "cifar10")
    assert code == 0
    for word in ("heads of 8 channels", "norm_num_groups 8", "norm_eps 1e-05", "act_fn silu"):
        assert f"# assumed: {word}" in stdout
    _, denoiser = card(tmp_path / "mine.yaml")
    x, t, y = torch.randn(2, 3, 16, 16), torch.tensor([3, 800]), torch.tensor([4, 0])
    code = t + 1000 * y if denoiser.classes else t
    with torch.no_grad():
        expected = network(x, t, y if denoiser.classes else None).sample
        torch.testing.assert_close(denoiser.model(x, code), expected)


def test_a_config_beside_the_file_is_used(bench, tmp_path):
    network = save_plain(tmp_path, norm_num_groups=2)
    network.save_config(tmp_path)
    code, stdout, _ = bench(tmp_path / "mine.safetensors", "--dataset", "cifar10")
    assert code == 0
    assert "config.json beside the file" in stdout
    found, _ = card(tmp_path / "mine.yaml")
    assert found.config["network"]["unet"]["norm_num_groups"] == 2


def test_folders(bench, tmp_path):
    save_unet(tmp_path / "pixels", sample_size=32)
    code, stdout, _ = bench(tmp_path / "pixels", "--set", "weights=ema")
    assert code == 0
    assert "# assumed: data set cifar10" in stdout
    found, denoiser = card(tmp_path / "pixels.yaml")
    assert (found.method, denoiser.shape) == ("ema", (3, 32, 32))
    save_dit(tmp_path / "latents")
    refused(bench(tmp_path / "latents"), "--dataset")
    assert bench(tmp_path / "latents", "--dataset", "ffhq", "--name", "dit")[0] == 0
    assert card(tmp_path / "dit.yaml")[1].decode is not None


def test_half_precision_and_a_container(bench, tmp_path):
    path = tmp_path / "training.pt"
    raw = {name: value.half() for name, value in weights(SMALL).items()}
    torch.save({"model": raw, "model_ema": {k: v + 1 for k, v in raw.items()}}, path)
    words = (path, *SIZE, "--set", "attention_head_dim=16", "--dataset", "cifar10")
    refused(bench(*words), "weights must be one of ema, raw")
    code, stdout, _ = bench(*words, "--set", "weights=ema")
    assert code == 0
    assert "# assumed: stored in float16, computed in float32" in stdout
    assert card(tmp_path / "training.yaml")[0].config["stored"] == "float16"


def optimizer(path):
    torch.save({"state": {}, "param_groups": []}, path)


def truncated(path):
    torch.save(weights(SMALL), path)
    path.write_bytes(path.read_bytes()[:-1000])


def pickled_code(path):
    torch.save({"a": print}, path)


def pointer(path):
    path.write_text("version https://git-lfs.github.com/spec/v1\n")


def not_a_number(path):
    torch.save(weights(SMALL) | {"out.2.bias": torch.full((6,), float("nan"))}, path)


def nameless(path):
    torch.save(EMAModel(UNet2DModel(**UNET).parameters()).state_dict(), path)


def other_network(path):
    torch.save({"encoder.weight": torch.zeros(3)}, path)


@pytest.mark.parametrize(
    ("damage", "words"),
    [
        (optimizer, "state of an optimizer"),
        (truncated, "no whole file"),
        (pickled_code, "its pickle calls print"),
        (pointer, "git lfs pull"),
        (not_a_number, "file.pt: weight out.2.bias holds NaN"),
        (nameless, "a list without names"),
        (other_network, "neither an ADM network nor a UNet2DModel"),
        (lambda path: None, "no checkpoint"),
    ],
)
def test_what_is_no_checkpoint_is_refused(bench, tmp_path, damage, words):
    path = tmp_path / "file.pt"
    damage(path)
    refused(bench(path, *SIZE, "--dataset", "cifar10", "--set", "attention_head_dim=16"), words)
    assert not (tmp_path / "file.yaml").exists()


def test_bad_words(bench, tmp_path):
    path = tmp_path / "model.pt"
    torch.save(weights(SMALL), path)
    refused(bench(path), "--set sample_size=N")
    refused(bench(path, "--set", "colour=red"), "no such field")
    refused(bench(path, "--set", "sample_size=big"), "whole number")
    fields = [*SIZE, "--set", "attention_head_dim=16"]
    refused(bench(path, *fields), "--dataset")
    refused(bench(path, *fields, "--dataset", "cifar11"), "did you mean 'cifar10'")
    refused(
        bench(path, *fields, "--dataset", "cifar10", "--out", tmp_path / "a" / "c.yaml"), "--out"
    )
    refused(bench("hf:who/what", "--revision", "0" * 40), "cannot be fetched")
    (tmp_path / "model.yaml").write_text("")
    refused(bench(path, *fields, "--dataset", "cifar10"), "exists")
    save_unet(tmp_path / "pipe")
    edit(tmp_path / "pipe" / "unet" / "config.json", _class_name="Other")
    refused(bench(tmp_path / "pipe", "--dataset", "cifar10"), "Other")


def test_data_sets_names_and_places_are_checked(bench, tmp_path):
    save_plain(tmp_path, norm_num_groups=8)
    path, fields = tmp_path / "mine.safetensors", ("--set", "attention_head_dim=8", *SIZE)
    for dataset, words in (
        ("folder:/nope", "/nope"),
        (f"folder:{tmp_path}", "holds no .png"),
        ("folder", "folder:PATH"),
        ("cifar10:x", "takes no argument"),
        ("cifar11", "did you mean 'cifar10'"),
    ):
        refused(bench(path, *fields, "--dataset", dataset), words)
    for flag in ("--name", "--family", "--method"):
        words = f"{flag} must be at most 100 printable characters"
        refused(bench(path, *fields, "--dataset", "cifar10", flag, "x" * 101), words)
        refused(bench(path, *fields, "--dataset", "cifar10", flag, "a\x1b[2J"), words)
    assert not list(tmp_path.glob("*.yaml"))
    # A name of a file that a shell would take apart.
    odd = tmp_path / "my file's.safetensors"
    path.rename(odd)
    code, stdout, stderr = bench(odd, *fields, "--dataset", "cifar10")
    assert code == 0 and "method: baseline" in stdout
    command = stderr.splitlines()[-1].partition("; ")[2].strip("`")
    assert shlex.split(command) == ["bench", "run", "--cards", str(tmp_path / "my-file-s.yaml")]


@pytest.mark.parametrize(
    ("word", "words"),
    [
        ("sample_size=0", "whole number to 4096, or HEIGHTxWIDTH"),
        ("sample_size=\u00b2", "a number of pixels"),
        ("sample_size=99999", "a number of pixels"),
        ("sample_size=1x2x3", "a number of pixels"),
        ("timesteps=" + "9" * 5000, "a whole number from 1 to 100000"),
        ("norm_eps=nan", "a positive number"),
        ("norm_eps=x", "a number"),
        ("flip_sin_to_cos=1", "true or false"),
        ("rescale_timesteps=maybe", "true or false"),
        ("schedule=square", "one of cosine, linear"),
        ("part=", "a name"),
        ("variant=fp16", "a folder of diffusers has one, a file does not"),
        ("attention_order=new", "has q, k and v apart"),
        ("num_heads=2", "exclude each other"),
        ("x" * 5000 + "=1", "no such field"),
    ],
)
def test_bad_fields(bench, tmp_path, word, words):
    save_plain(tmp_path, norm_num_groups=8)
    path, fields = tmp_path / "mine.safetensors", ("--set", "attention_head_dim=8", *SIZE)
    result = bench(path, *fields, "--dataset", "cifar10", "--set", word)
    refused(result, words)
    assert len(result[2]) < 900
    assert not (tmp_path / "mine.yaml").exists()


def edm(prefix):
    """Some names of EDM's DDPM++ network, as its authors' code gives them."""
    names = ("map_layer0", "map_layer1", "enc.32x32_conv", "enc.32x32_block0.conv0", "dec.out")
    return {f"{prefix}{name}.weight": torch.zeros(4, 4) for name in names}


def transformer(prefix):
    """Some names of k-diffusion's second image transformer."""
    names = ("patch_in.proj", "time_emb", "time_in_proj", "mid_level.0.self_attn.qkv_proj")
    return {f"{prefix}{name}.weight": torch.zeros(4, 4) for name in names}


def u_net(prefix):
    """Some names of k-diffusion's first U-Net."""
    names = ("timestep_embed", "mapping.0", "proj_in", "u_net.d_blocks.0.1.main.0.mapper")
    return {f"{prefix}{name}.weight": torch.zeros(4, 4) for name in names}


@pytest.mark.parametrize(
    ("tensors", "title"),
    [
        (transformer("inner_model."), "k-diffusion"),
        (u_net("model_ema.inner_model."), "k-diffusion"),
    ],
)
def test_networks_of_continuous_noise_levels_are_named(bench, tmp_path, tensors, title):
    save_file(tensors, tmp_path / "theirs.safetensors")
    told = f"a network of {title}, which denoises at continuous noise levels: name the code"
    levels = "--set 'levels={kind: sigmas, told: sigma"
    refused(bench(tmp_path / "theirs.safetensors", *SIZE), told, "--network", levels)
    assert not (tmp_path / "theirs.yaml").exists()


EXPORT = (
    "ema = pickle.load(open(PATH, 'rb'))['ema']",
    "torch.save(ema.state_dict(), 'weights.pt')",
    "bench import weights.pt",
)


def test_a_pickle_of_edm_is_named(bench, tmp_path):
    """Its bytes by hand: a call of what rebuilds a class out of the source that it carries."""
    called = b"ctorch_utils.persistence\n_reconstruct_persistent_obj\n"
    older = b"\x80\x02" + called + b"}\x85R."
    # The same as Python writes it by default, which torch's own reader does not tell apart.
    newer = b"\x80\x04\x8c\x17torch_utils.persistence\x94\x8c\x1b_reconstruct_persistent_obj\x94"
    for content in (older, newer + b"\x93\x94}\x94\x85\x94R\x94."):
        (tmp_path / "edm.pkl").write_bytes(content)
        refused(bench(tmp_path / "edm.pkl", *SIZE), "a pickle of EDM or its kin", *EXPORT)


@fashion
def test_a_bare_file_gets_the_description_that_fits_its_weights(bench, tmp_path):
    """The weights of a shipped checkpoint: 8 groups, where the usual guess is 16."""
    trained = Path(app.__file__).parents[1] / "zoo" / "fashion-unet-ema.safetensors"
    path = tmp_path / "mine.safetensors"
    path.write_bytes(trained.read_bytes())
    words = (path, "--set", "sample_size=28", "--dataset", "fashion-mnist")
    refused(bench(*words, "--set", "predicts=sample"), "worse than no network", "--force")
    assert not path.with_suffix(".yaml").exists()
    code, _, stderr = bench(*words)
    assert code == 0
    assert "denoising loss" not in stderr
    found, _ = card(path.with_suffix(".yaml"))
    assert found.config["network"]["unet"]["norm_num_groups"] == 8
    said = (found.config["schedule"], found.config["predicts"], found.config["timesteps"])
    assert said == ("cosine", "epsilon", 1000)
    assert any(text.startswith("schedule cosine: by the denoising loss") for text in found.assumed)
    assert any(
        text.startswith("norm_num_groups 8, by the errors on noise") for text in found.assumed
    )
    assert (tmp_path / "mine.samples.png").read_bytes().startswith(b"\x89PNG")


@pytest.mark.slow
def test_an_untrained_network_is_imported_by_force(bench, tmp_path):
    network = UNet2DModel(**(UNET | {"sample_size": 28, "in_channels": 1, "out_channels": 1}))
    network.save_config(tmp_path)
    save_file(network.state_dict(), tmp_path / "mine.safetensors")
    words = (tmp_path / "mine.safetensors", "--dataset", "fashion-mnist", "--set")
    words = (*words, "predicts=epsilon")
    refused(bench(*words), "worse than no network", "it is not trained", "--force")
    assert bench(*words, "--force")[0] == 0
    assert card(tmp_path / "mine.yaml")[0].force
