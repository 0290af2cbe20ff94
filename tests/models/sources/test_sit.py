"""Source `sit`: transformers out of names and shapes, against plain functions from the papers."""

import math

import pytest
import torch
from helpers.author_shapes import DEPTH, PATCH, WIDTH, sit_shapes
from helpers.authors import card_of, differences, randoms
from helpers.folders import save_decoder
from torch.nn import functional

from bench.core.errors import InputError
from bench.models import card_decoders
from bench.models.sources import sit

FLOW = {"levels": {"kind": "flow", "told": "reversed_time"}, "predicts": "velocity"}


def reference(state, heads, outputs):
    """A function of (x, told, labels), a token at a time where it can be."""

    def linear(name, x):
        return functional.linear(x, state[f"{name}.weight"], state[f"{name}.bias"])

    def plain(x):
        mean = x.mean(-1, keepdim=True)
        return (x - mean) / ((x - mean).square().mean(-1, keepdim=True) + 1e-6).sqrt()

    def silu(x):
        return x * torch.sigmoid(x)

    def embedded(t, y):
        waves = torch.tensor([10_000 ** (-k / 128) for k in range(128)], dtype=torch.float64)
        angles = torch.outer(t.double(), waves).float()
        emb = torch.cat([angles.cos(), angles.sin()], 1)
        emb = linear("t_embedder.mlp.2", silu(linear("t_embedder.mlp.0", emb)))
        return emb if y is None else emb + state["y_embedder.embedding_table.weight"][y]

    def attention(name, x):
        q, k, v = linear(f"{name}.qkv", x).chunk(3, -1)
        parts = []
        for q_h, k_h, v_h in zip(*(each.chunk(heads, -1) for each in (q, k, v)), strict=True):
            share = (q_h @ k_h.mT / math.sqrt(q_h.shape[-1])).softmax(-1)
            parts.append(share @ v_h)
        return linear(f"{name}.proj", torch.cat(parts, -1))

    def network(x, t, y):
        c = silu(embedded(t, y))
        side = x.shape[2] // PATCH
        weight, bias = state["x_embedder.proj.weight"], state["x_embedder.proj.bias"]
        pieces = functional.unfold(x, PATCH, stride=PATCH).mT
        h = pieces @ weight.flatten(1).T + bias + state["pos_embed"]
        for k in range(DEPTH):
            parts = linear(f"blocks.{k}.adaLN_modulation.1", c)[:, None].chunk(6, -1)
            h = h + parts[2] * attention(f"blocks.{k}.attn", plain(h) * (1 + parts[1]) + parts[0])
            inner = linear(f"blocks.{k}.mlp.fc1", plain(h) * (1 + parts[4]) + parts[3])
            inner = functional.gelu(inner, approximate="tanh")
            h = h + parts[5] * linear(f"blocks.{k}.mlp.fc2", inner)
        shift, scale = linear("final_layer.adaLN_modulation.1", c)[:, None].chunk(2, -1)
        h = linear("final_layer.linear", plain(h) * (1 + scale) + shift)
        image = torch.zeros(len(x), outputs, *x.shape[2:])
        for token in range(side**2):
            row, column = PATCH * (token // side), PATCH * (token % side)
            piece = h[:, token].view(-1, PATCH, PATCH, outputs).permute(0, 3, 1, 2)
            image[:, :, row : row + PATCH, column : column + PATCH] = piece
        return image

    return network


@pytest.mark.parametrize(("outputs", "labels"), [(3, 4), (6, 4), (3, 0)])
def test_the_network_is_that_of_the_papers(tmp_path, outputs, labels):
    state = randoms(sit_shapes(outputs, labels))
    denoiser = sit.load(card_of(tmp_path, "sit", state, num_heads=3, **FLOW))
    classes, null = (3, 3) if labels else (0, None)
    assert (denoiser.shape, denoiser.classes, denoiser.null_label) == ((3, 8, 8), classes, null)
    assert denoiser.predicts == "velocity" and not denoiser.learns_variance
    network = reference(state, 3, outputs)
    told = torch.tensor([0.0, 0.3, 1.0])
    largest, scale = differences(denoiser, lambda *inputs: network(*inputs)[:, :3], told)
    assert scale > 0.1 and largest < 1e-5 * max(scale, 1)
    wrong, _ = differences(
        denoiser, lambda *inputs: reference(state, 4, outputs)(*inputs)[:, :3], told
    )
    assert wrong > 1e-3


def test_a_dit_is_at_timesteps_and_learns_the_variance(tmp_path):
    state = randoms(sit_shapes(6))
    denoiser = sit.load(card_of(tmp_path, "sit", state, num_heads=3, schedule="linear"))
    assert denoiser.predicts == "epsilon" and denoiser.learns_variance
    x, labels = torch.randn(2, 3, 8, 8), torch.tensor([1, 3])
    with torch.no_grad():
        made = denoiser.model(x, torch.tensor([5, 800]) + 1000 * labels)
        wanted = reference(state, 3, 6)(x, torch.tensor([5.0, 800.0]), labels)
    assert float((made - wanted).abs().max()) < 1e-5 * max(1, float(wanted.abs().max()))


def test_published_sizes_have_their_heads():
    assert all(width % heads == 0 for (width, _), heads in sit.HEADS.items())
    weights = {"y_embedder.embedding_table.weight": torch.empty(1001, 1152, device="meta")}
    with torch.device("meta"):
        published = sit.Transformer(
            {"width": 1152, "depth": 28, "patch": 2, "side": 16, "waves": 256, "labels": 1001}
            | {"channels": 4, "outputs": 8, "inner": 4608},
            16,
        ).state_dict()
    assert set(weights) < set(published)
    with torch.device("meta"):
        found = sit.read(published, {})
    assert "28 blocks of 1152, 16 heads, patches of 2, 1000 classes" in found.title
    assert found.shape == (4, 32, 32)


@pytest.mark.parametrize(
    ("config", "words"),
    [
        (FLOW, "num_heads is missing: .* 2 blocks of 24 are no published size"),
        (FLOW | {"num_heads": 5}, "num_heads 5 does not divide 24"),
        (FLOW | {"num_heads": "3"}, "num_heads must be the number of heads"),
        ({"num_heads": 3}, "do not tell at which noise .* levels=.* predicts=velocity, of a DiT"),
        (FLOW | {"num_heads": 3, "classes": 9}, "classes must be 3 or 4"),
        (FLOW | {"num_heads": 3, "null_class": 2}, "null_class 2: .* can be 3 alone"),
        (FLOW | {"num_heads": 3, "predicts": "epsilon"}, "predicts must be one of"),
    ],
)
def test_what_shapes_do_not_tell_is_asked_for(tmp_path, config, words):
    with pytest.raises(InputError, match=words) as caught:
        sit.load(card_of(tmp_path, "sit", randoms(sit_shapes()), **config))
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"pos_embed": (1, 15, WIDTH)}, "images must be square"),
        (sit_shapes(4, channels=4), "takes 4 channels, which are no images but latents"),
        ({"blocks.0.attn.q_norm.weight": (8,)}, "do not fit the network"),
        ({"t_embedder.mlp.0.weight": None}, "not the weights of a SiT or DiT"),
    ],
)
def test_other_weights_are_refused(tmp_path, change, words):
    changed = {k: v for k, v in (sit_shapes() | change).items() if v is not None}
    with pytest.raises(InputError, match=words):
        sit.load(card_of(tmp_path, "sit", randoms(changed), num_heads=3, **FLOW))


def test_latents_are_decoded_by_the_folder_beside_the_weights(tmp_path):
    decoder = save_decoder(tmp_path)
    state = randoms(sit_shapes(8, channels=4))
    said = {"decoder": card_decoders.drafted(tmp_path / "w.safetensors", "vae"), "num_heads": 3}
    for noise in (FLOW, {"schedule": "linear"}):
        denoiser = sit.load(card_of(tmp_path, "sit", state, **said, **noise))
        x = torch.randn(2, 4, 8, 8)
        with torch.no_grad():
            made, wanted = denoiser.decode(x), decoder.decode(x / 0.5).sample
        assert torch.allclose(made, wanted, atol=1e-5) and made.shape == (2, 3, 16, 16)
        assert not denoiser.clips and "vae" in denoiser.description["decoder"]
    for wrong, words in (
        ({"decoder": said["decoder"] | {"sha256": "0" * 64}}, "vae has .* the card says 0000"),
        ({"decoder": said["decoder"] | {"folder": "nowhere"}}, "no folder nowhere beside"),
        ({"decoder": said["decoder"] | {"folder": "../vae"}}, "no folder ../vae beside"),
        ({"decoder": "vae"}, "decoder must be a mapping of folder and sha256"),
        ({"scaling_factor": 0.3}, "the card says scaling_factor: 0.3, .* says 0.5"),
    ):
        with pytest.raises(InputError, match=words):
            sit.load(card_of(tmp_path, "sit", state, **{**said, **FLOW, **wrong}))
    with pytest.raises(InputError, match="no decoder whose scale is open"):
        sit.load(card_of(tmp_path, "sit", state, num_heads=3, scaling_factor=0.5, **FLOW))
