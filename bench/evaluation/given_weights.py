"""Method `weights`: rounded or reconstructed weights of a file in place of the checkpoint's own.

    weights=FILE    as the first method of a scheme; `bench run --weights-from FILE`

Only the quantized network gets them; full precision, which it is held against, stays that of the
card. The file is one of safetensors or `torch.save`, read as the files of checkpoints are; its
tensors have the names of the network, with words before them or without, and need not be all of
them. They are taken before the calibration. An output channel whose weights are whole numbers of
one step, within the bits of its layer, keeps exactly these numbers; any other one is rounded to
nearest, like weights of a checkpoint (`bench.quant.steps`).
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING

from bench.core import extensions
from bench.core.denoiser import Denoiser
from bench.core.errors import InputError
from bench.core.printable import first_few, short
from bench.core.protocols import Calibration
from bench.core.scheme import Scheme
from bench.system import given_files

if TYPE_CHECKING:
    from torch import Tensor
    from torch.fx import GraphModule

    from bench.quant.methods.rounded import RoundedLayer


class GivenWeights:
    """Takes the weights of a file, rounded already or not: weights=FILE, or --weights-from FILE.

    Args:
        argument: path of the file.

    Raises:
        InputError: there is no such file.
    """

    version = 1

    def __init__(self, argument: str = "") -> None:
        if not argument:
            raise InputError("method weights needs a file: write weights=FILE")
        self.path = given_files.place(argument)
        given_files.sha256(self.path)

    def refuses(self, scheme: Scheme) -> str | None:
        """Refuse methods before it, which would act on the checkpoint's own weights."""
        first = extensions.plain(scheme.methods[0])
        return None if first == "weights" else f"it comes before {first}: name it first"

    def check(self, denoiser: Denoiser) -> None:
        """Hold the file against a network before anything is computed.

        Raises:
            InputError: an unreadable file, a name or a shape that the network does not have, or a
                number that is not finite.
        """
        tensors_of(self.path, dict(denoiser.model.state_dict()))

    def prepare(
        self, graph: GraphModule, denoiser: Denoiser, calibration: Calibration
    ) -> GraphModule:
        """The graph with the weights of the file.

        Raises:
            InputError: as for `check`.
            RuntimeError: the file was changed since the keys were made.
        """
        from bench.quant.graph import put

        own = dict(denoiser.model.state_dict())
        given_files.check_unchanged(self.path)
        held = {str(node.target) for node in graph.graph.nodes if node.op == "get_attr"}
        for name, value in tensors_of(self.path, own).items():
            if name in held:
                put(graph, name, value.to(own[name]))
        return graph

    def __call__(
        self, graph: GraphModule, denoiser: Denoiser, calibration: Calibration
    ) -> GraphModule:
        """Round the weights with the steps of their own that they have, and tell what was done."""
        from bench.quant.graph import tell
        from bench.quant.methods.rounded import rounded_layers

        own = dict(denoiser.model.state_dict())
        given = tensors_of(self.path, own)
        shares: dict[str, float] = {}
        kept = set()
        for rounded in rounded_layers(graph):
            name = f"{rounded.layer.name}.weight"
            if name in given:
                shares[name] = _keep_codes(graph, rounded, given[name].dtype)
            else:
                kept.add(name)
        tell(graph, _told(given, own, shares, len(kept)))
        return graph


def _keep_codes(graph: GraphModule, rounded: RoundedLayer, stored: object) -> float:
    """Give a layer the codes that its weights are; the share of its channels that are some."""
    from bench.quant import weight_rows
    from bench.quant.methods.rounded import limits, round_rows
    from bench.quant.steps import own_steps

    codes, usual, _ = weight_rows.constants(graph, rounded.node)
    nearest = codes.clone()
    steps, is_whole = own_steps(rounded.weight.flatten(1), limits(rounded), stored)
    if bool(is_whole.any()):
        round_rows(graph, rounded, usual.where(~is_whole, steps.to(usual)))
        codes.copy_(codes.where(is_whole.view(-1, *(1,) * (codes.ndim - 1)), nearest))
    return float(is_whole.float().mean())


def _told(
    given: Mapping[str, Tensor],
    own: Mapping[str, Tensor],
    shares: Mapping[str, float],
    kept: int,
) -> str:
    """What became of the file, in words."""
    exact = sum(share == 1 for share in shares.values())
    nearest = sum(share == 0 for share in shares.values())
    pairs = [(value.float(), own[name].float().to(value.device)) for name, value in given.items()]
    moved = sum(float((a - b).square().sum()) for a, b in pairs)
    size = sum(float(b.square().sum()) for _, b in pairs) or 1.0
    words = [
        f"{len(given)} of {len(own)} tensors from the file, {(moved / size) ** 0.5:.2%} from the "
        f"checkpoint's own",
        f"{exact} layers rounded already and kept exactly, {nearest} rounded to nearest",
    ]
    if part := len(shares) - exact - nearest:
        words.append(f"{part} in part")
    return "; ".join([*words, f"{kept} with the checkpoint's own weights"])


def tensors_of(path: Path, own: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """The tensors of a file by the names of a network, of its shapes, all finite.

    Args:
        path: of the file.
        own: the state of the network.

    Raises:
        InputError: no file of weights, or one that does not fit.
    """
    import torch

    from bench.models.sources import state_dicts, unet_shapes

    part, *others = state_dicts.read(path).parts
    if others or part.ordered:
        titles = ", ".join(each.title for each in (part, *others))
        what = "several networks" if others else "weights without names"
        raise InputError(f"{path} holds {what}, {titles}: save the state_dict of one alone")
    state_dicts.check_tensors(part.tensors, path)
    stored = unet_shapes.renamed(part.tensors)
    names = {name: _own_name(name, own) for name in stored}
    if unknown := [name for name, known in names.items() if known is None]:
        raise InputError(
            f"{path}: {len(unknown)} of {len(stored)} tensors are none of this network: "
            f"{first_few(unknown, 3)}; its names are like {first_few(list(own), 2)}"
        )
    taken: dict[str, Tensor] = {}
    for name, value in stored.items():
        known = str(names[name])
        if known in taken:
            raise InputError(f"{path} holds {short(known)} twice, under two prefixes: keep one")
        if value.shape != own[known].shape:
            raise InputError(
                f"{path}: {short(name)} has shape {list(value.shape)}, and that of the network "
                f"{list(own[known].shape)}: it is of another network"
            )
        if not bool(torch.isfinite(value).all()):
            raise InputError(f"{path}: {short(name)} holds NaN or infinite values")
        taken[known] = value
    return taken


def _own_name(name: str, own: Mapping[str, Tensor]) -> str | None:
    """The name of a network for one of a file, which may have more or fewer words in front."""
    words = name.split(".")
    for k in range(len(words) - 1):
        rest = ".".join(words[k:])
        for candidate in (rest, f"unet.{rest}"):
            if candidate in own:
                return candidate
    return None
