"""Source `edm`: networks out of names and shapes, against plain functions from the paper."""

import pytest
import torch
from helpers.author_shapes import edm_shapes
from helpers.authors import card_of, differences, randoms
from helpers.edm_reference import Reference

from bench.core.errors import InputError
from bench.models.sources import edm


@pytest.mark.parametrize("classes", [0, 10])
@pytest.mark.parametrize("kind", ["ddpm++", "ncsn++", "adm"])
def test_the_network_is_that_of_the_paper(tmp_path, kind, classes):
    state = randoms(edm_shapes(kind, classes))
    width = state["map_layer0.weight"].shape[1]
    reference = Reference(state, width)

    def expected(x, noise, labels):
        rows = None if labels is None else torch.nn.functional.one_hot(labels, 11)[:, :10].float()
        return reference(x, noise, rows)

    # Within EDMPrecond its names begin with model.
    weights = {f"model.{name}": value for name, value in state.items()}
    denoiser = edm.load(card_of(tmp_path, "edm", weights))
    assert denoiser.shape == (3, 8, 8) and denoiser.classes == classes
    assert (denoiser.predicts, denoiser.sigma_data) == ("edm", 0.5)
    largest, scale = differences(denoiser, expected, torch.tensor([-1.5, 0.0, 1.1]))
    assert scale > 0.1 and largest < 1e-5 * max(scale, 1)
    kinds = {"ddpm++": "SongUNet,", "ncsn++": "SongUNet as NCSN++,", "adm": "DhariwalUNet,"}
    assert kinds[kind] in denoiser.description["network"]


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"enc.8x8_block0.conv0.weight": None}, "not the weights of a network of EDM"),
        ({"enc.8x8_block0.norm0.weight": None}, "do not fit the network"),
        ({"enc.8x8_more.weight": (3,)}, "layer enc.8x8_more, which has none of the kinds"),
        ({"dec.8x8_aux_up.resample_filter": (3,)}, "layer dec.8x8_aux_up"),
        ({"further.weight": (3,)}, "do not fit the network"),
        ({"enc.4x4_block1": "enc.4x4_block0"}, "decoder takes 4 of 5 layers"),
        (
            {"dec.8x8_aux_conv.weight": (6, 64, 3, 3), "dec.8x8_aux_conv.bias": (6,)},
            "gives 6 of 3",
        ),
    ],
)
def test_other_weights_are_refused(tmp_path, change, words):
    changed = edm_shapes("ddpm++")
    for name, value in change.items():
        if isinstance(value, str):
            below = {k: v for k, v in changed.items() if k.startswith(f"{value}.")}
            changed |= {k.replace(value, name): v for k, v in below.items()}
        else:
            changed[name] = value
    state = randoms({name: value for name, value in changed.items() if value is not None})
    with pytest.raises(InputError, match=words) as caught:
        edm.load(card_of(tmp_path, "edm", state))
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("config", "words"),
    [
        ({"null_class": 9}, "null_class 9.* can be 10 alone"),
        ({"shape": [3, 8, 8]}, "unknown field shape of source edm"),
        ({"levels": {"kind": "edm"}, "schedule": "linear"}, "exclude each other"),
    ],
)
def test_a_wrong_card_is_refused(tmp_path, config, words):
    with pytest.raises(InputError, match=words):
        edm.load(card_of(tmp_path, "edm", randoms(edm_shapes("ddpm++", 10)), **config))
    denoiser = edm.load(card_of(tmp_path, "edm", randoms(edm_shapes("ddpm++", 10)), null_class=10))
    assert denoiser.null_label == 10
