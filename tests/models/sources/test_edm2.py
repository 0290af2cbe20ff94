"""Source `edm2`: networks out of names and shapes, against plain functions from the paper."""

import pytest
import torch
from helpers.author_shapes import edm2_shapes
from helpers.authors import card_of, differences, randoms
from helpers.folders import save_decoder
from torch.nn import functional

from bench.core.errors import InputError
from bench.models import card_decoders
from bench.models.sources import edm2


class Reference:
    """The network of a state dict, as figure 21 and appendix B.1 of Karras et al. 2024 have it."""

    def __init__(self, state):
        self.state = {k.removeprefix("unet."): v for k, v in state.items()}

    def product(self, layer, x, gain=1.0):
        """The product with normalized weights, each time anew."""
        weight = self.state[f"{layer}.weight"]
        norms = torch.linalg.vector_norm(weight.flatten(1), dim=1)
        fan = weight[0].numel()
        shape = (-1, *(1,) * (weight.ndim - 1))
        weight = weight / (1e-4 + norms / fan**0.5).view(shape) * (gain / fan**0.5)
        if weight.ndim == 2:
            return torch.einsum("bi,oi->bo", x, weight)
        return functional.conv2d(x, weight, padding=weight.shape[-1] // 2)

    def block(self, layer, x, emb):
        """A block."""
        decodes = layer.startswith("dec")
        if layer.endswith("_down"):
            x = (x[..., ::2, ::2] + x[..., 1::2, ::2] + x[..., ::2, 1::2] + x[..., 1::2, 1::2]) / 4
        if layer.endswith("_up"):
            x = x.repeat_interleave(2, 2).repeat_interleave(2, 3)
        skips = f"{layer}.conv_skip.weight" in self.state
        if not decodes:
            x = self.product(f"{layer}.conv_skip", x) if skips else x
            x = x / (1e-4 + torch.linalg.vector_norm(x, dim=1, keepdim=True) / x.shape[1] ** 0.5)
        y = self.product(f"{layer}.conv_res0", x * torch.sigmoid(x) / 0.596)
        c = self.product(f"{layer}.emb_linear", emb, self.state[f"{layer}.emb_gain"]) + 1
        y = y * c[:, :, None, None]
        y = self.product(f"{layer}.conv_res1", y * torch.sigmoid(y) / 0.596)
        x = self.product(f"{layer}.conv_skip", x) if decodes and skips else x
        x = (0.7 * x + 0.3 * y) / 0.58**0.5
        if f"{layer}.attn_qkv.weight" in self.state:
            parts = []
            for head in self.product(f"{layer}.attn_qkv", x).flatten(2).chunk(x.shape[1] // 64, 1):
                q, k, v = (head[:, part::3] for part in range(3))
                q, k, v = (
                    each / (1e-4 + torch.linalg.vector_norm(each, dim=1, keepdim=True) / 8)
                    for each in (q, k, v)
                )
                share = (torch.einsum("bcq,bck->bqk", q, k) / 8).softmax(2)
                parts.append(torch.einsum("bqk,bck->bcq", share, v))
            y = self.product(f"{layer}.attn_proj", torch.cat(parts, 1).view(x.shape))
            x = (0.7 * x + 0.3 * y) / 0.58**0.5
        return x.clip(-256, 256)

    def __call__(self, x, noise, labels):
        """F of c_in x, c_noise and labels, of which one behind the classes is none."""
        waves = torch.outer(noise, self.state["emb_fourier.freqs"])
        emb = self.product("emb_noise", (waves + self.state["emb_fourier.phases"]).cos() * 2**0.5)
        if labels is not None:
            rows = functional.one_hot(labels, 11)[:, :10].float()
            emb = (emb + self.product("emb_label", rows * 10**0.5)) / 2**0.5
        emb = emb * torch.sigmoid(emb) / 0.596
        names = list(dict.fromkeys(".".join(n.split(".")[:2]) for n in self.state))
        x, skips = torch.cat([x, torch.ones_like(x[:, :1])], 1), []
        for layer in (name for name in names if name.startswith("enc")):
            conv = layer.endswith("conv")
            x = self.product(layer, x) if conv else self.block(layer, x, emb)
            skips.append(x)
        for layer in (name for name in names if name.startswith("dec")):
            if "block" in layer:
                y = skips.pop()
                count = x.shape[1] + y.shape[1]
                x, y = x / x.shape[1] ** 0.5, y / y.shape[1] ** 0.5
                x = torch.cat([x, y], 1) * (count / 2) ** 0.5
            x = self.block(layer, x, emb)
        return self.product("out_conv", x, self.state["out_gain"])


@pytest.mark.parametrize("classes", [0, 10])
def test_the_network_is_that_of_the_paper(tmp_path, classes):
    state = randoms(edm2_shapes(classes))
    state["unet.out_gain"].fill_(0.7)
    # Whatever their magnitude, weights are normalized.
    state["unet.enc.8x8_block0.conv_res0.weight"] *= 3
    denoiser = edm2.load(card_of(tmp_path, "edm2", state))
    assert denoiser.shape == (3, 8, 8) and denoiser.classes == classes
    assert (denoiser.predicts, denoiser.sigma_data) == ("edm", 0.5)
    told = torch.tensor([-1.5, 0.0, 1.1])
    largest, scale = differences(denoiser, Reference(state), told)
    assert scale > 0.1 and largest < 1e-5 * max(scale, 1)


def test_half_precision_is_told_and_computed_in_float32(tmp_path):
    state = {name: value.half() for name, value in randoms(edm2_shapes()).items()}
    with pytest.raises(InputError, match="stored: float16"):
        edm2.load(card_of(tmp_path, "edm2", state))
    denoiser = edm2.load(card_of(tmp_path, "edm2", state, stored="float16"))
    assert {p.dtype for p in denoiser.model.parameters()} == {torch.float32}
    told = torch.tensor([-1.5, 0.0, 1.1])
    whole = {name: value.float() for name, value in state.items()}
    largest, scale = differences(denoiser, Reference(whole), told)
    assert largest < 1e-5 * max(scale, 1)


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"unet.enc.8x8_block0.emb_linear.weight": None}, "not the weights of a network of EDM2"),
        ({"unet.enc.8x8_block0.emb_gain": None}, "not the weights of a network of EDM2"),
        ({"unet.enc.8x8_block0.conv_res0.bias": (64,)}, "with a weight enc.8x8_block0"),
        ({"unet.further.weight": (3, 3)}, "do not fit the network"),
        ({"unet.dec.8x8_block1.conv_res1.weight": (64, 32, 3, 3)}, "network|fit"),
    ],
)
def test_other_weights_are_refused(tmp_path, change, words):
    changed = {k: v for k, v in (edm2_shapes() | change).items() if v is not None}
    with pytest.raises(InputError, match=words) as caught:
        edm2.load(card_of(tmp_path, "edm2", randoms(changed)))
    assert "\n" not in str(caught.value)


def test_latents_have_the_scales_of_the_authors(tmp_path):
    """Raw latents less their mean, times 0.5 over their deviation; images in [0, 1]."""
    vae = save_decoder(tmp_path)
    said = {"decoder": card_decoders.drafted(tmp_path / "w.safetensors", "vae")}
    state = randoms(edm2_shapes(channels=4))
    denoiser = edm2.load(card_of(tmp_path, "edm2", state, **said))
    x = torch.randn(2, 4, 8, 8)
    raw = x.clone()
    for channel, (mean, deviation) in enumerate(
        ((5.81, 4.17), (3.25, 4.62), (0.12, 3.71), (-2.15, 3.28))
    ):
        raw[:, channel] = x[:, channel] * deviation / 0.5 + mean
    with torch.no_grad():
        made, wanted = denoiser.decode(x), 2 * vae.decode(raw).sample - 1
        assert torch.allclose(made, wanted, atol=1e-5) and made.shape == (2, 3, 16, 16)
        images = torch.rand(1, 3, 16, 16) * 2 - 1
        again = denoiser.decode.encode(images)
        raw = vae.encode((images + 1) / 2).latent_dist.mean
    assert torch.allclose(again[:, 0], (raw[:, 0] - 5.81) / 4.17 * 0.5, atol=1e-5)
    with pytest.raises(InputError, match="no decoder whose scale is open"):
        edm2.load(card_of(tmp_path, "edm2", state, **said, scaling_factor=0.5))
