"""BRECQ: learned rounding for the output of whole blocks, not of single layers.

For each block of a network (`blocks`) it is learned of all its weights together whether to round
them down or up, as AdaRound does it for a layer: with steps s and h in [0, 1] a weight is
s (floor(w / s) + h), and by Adam over the variables of h,

    E[(block_q(x_q) - block(x))^2] + a regularizer that leaves each h at 0 or 1 at last

is made least, x_q being what the block meets after all earlier ones were rounded and x what it
meets in full precision, both along the sampling trajectories of full precision and at all of their
timesteps. Inputs of the block's layers are rounded while it learns, so that its layers make up for
that too (Li et al. 2021, arXiv 2102.05426; of diffusion models Q-Diffusion, arXiv 2302.04304). Its
weighing by the Fisher information is left out: outputs of a block count alike.

A block whose output nearest rounding meets better keeps that. What was learned is kept block by
block, so that a killed run goes on where it stopped. Steps stay as they are.
"""

from __future__ import annotations

import sys
from pathlib import Path

import numpy as np
import torch
from torch import Tensor
from torch.fx import GraphModule, Node

from bench.core.denoiser import Denoiser
from bench.core.protocols import Calibration
from bench.core.scheme import Scheme
from bench.quant.graph import float_of
from bench.quant.identities import METHOD_VERSIONS
from bench.quant.methods import options
from bench.quant.methods.blocks import Block, blocks
from bench.quant.methods.learned import Rounding
from bench.quant.methods.rounded import (
    RoundedLayer,
    by_name,
    grid_of,
    numbers_of,
    out_of_order,
    rounded_layers,
    set_codes,
)
from bench.quant.methods.segments import Segment
from bench.quant.methods.side_by_side import SideBySide
from bench.quant.weight_rows import dequantized
from bench.system import artifacts
from bench.system.remaining import Remaining

OPTIONS = {"iterations": (400.0, 1.0, 1e6)}
RATE = 0.03


class BlockReconstruction:
    """Learns the rounding of all weights of a block by the block's output (Li et al. 2021)."""

    version = METHOD_VERSIONS["brecq"]

    def __init__(self, argument: str = "") -> None:
        self.iterations = int(options.numbers("brecq", argument, OPTIONS)["iterations"])

    def refuses(self, scheme: Scheme) -> str | None:
        """Refuse float weights, and what rounds them otherwise."""
        return out_of_order(scheme, "brecq")

    def __call__(
        self, graph: GraphModule, denoiser: Denoiser, calibration: Calibration
    ) -> GraphModule:
        """Round the weights of all blocks; layers that are executed twice, for the first time.

        Raises:
            RuntimeError: what a block meets is not finite.
        """
        executions = by_name(rounded_layers(graph))
        firsts = [first for first, *_ in executions.values()]
        parts = blocks(float_of(graph), firsts)
        both = SideBySide(graph, denoiser, calibration)
        told = Remaining("brecq", sum(map(_size, parts)))
        nearest, place = 0, calibration.place
        for k, block in enumerate(parts):
            learner = _Learner(graph, both, block)
            path = place and place / f"brecq-{k}.npy"
            codes = _kept(path, block)
            if codes is None:
                codes, kept = learner.learned(self.iterations)
                nearest += not kept
                _keep(path, codes)
                told.advance(_size(block))
            else:
                told.skip(_size(block))
            for layer, numbers in zip(block.layers, codes, strict=True):
                for each in executions[layer.layer.name]:
                    set_codes(graph, each, numbers)
            learner.finish()
        if nearest:
            print(
                f"bench: brecq: {nearest} of {len(parts)} blocks keep nearest rounding, which has "
                f"less error than what was learned",
                file=sys.stderr,
            )
        return graph


class _Learner:
    """One block, with what it meets and what it should give.

    Args:
        graph: quantized; the weights of earlier blocks are final.
        both: stands before the block, and behind it after `finish`.
        block: of both graphs.

    Raises:
        RuntimeError: what it meets is not finite.
    """

    def __init__(self, graph: GraphModule, both: SideBySide, block: Block) -> None:
        self.graph, self.both, self.block = graph, both, block
        order = list(graph.graph.nodes)
        nodes = {node.name: node for node in order}
        self.weights = [_weight(each) for each in block.layers]
        # Inputs are rounded, and weights read, before the first layer.
        start = max((order.index(nodes[name]) for name in block.inputs), default=-1) + 1
        start = max(start, both.quantized.place)
        both.quantized.until(order[start].name)
        outputs = [nodes[name] for name in block.outputs]
        self.segment = Segment(graph, set(order[:start]), outputs, self.weights)
        taken = list(self.segment.inputs)
        met = [both.quantized.values(node) for node in taken]
        self.met = [dict(zip(taken, each, strict=True)) for each in zip(*met, strict=True)]
        both.full.until(block.end)
        full = {node.name: node for node in both.full.graph.graph.nodes}
        exact = [both.full.values(full[name]) for name in block.outputs]
        self.exact = [list(each) for each in zip(*exact, strict=True)]
        if not all(bool(torch.isfinite(y).all()) for ys in self.exact for y in ys):
            raise RuntimeError(f"outputs of layer {block.layers[-1].layer.name} are not finite")

    def learned(self, iterations: int) -> tuple[list[Tensor], bool]:
        """Codes of each layer, whole numbers of steps (C_out, K), and whether they are learned
        ones or the nearest."""
        grids = [grid_of(self.graph, each) for each in self.block.layers]
        pairs = list(zip(self.block.layers, grids, strict=True))
        nearest = [numbers_of(self.graph, each) for each in self.block.layers]
        usual = self._error(nearest)
        count = sum(layer.weight.numel() for layer in self.block.layers)
        rounding = Rounding([(layer.weight.flatten(1), grid) for layer, grid in pairs], RATE)
        # Where there is no error, as of weights on the grid, there is nothing to gain either.
        unit = count / usual if usual > 0 else 1.0
        with torch.enable_grad():
            for k in range(iterations):
                error = unit * self._of_batch(rounding.weights(), k % len(self.met))
                rounding.step(error, k / iterations)
        codes = rounding.codes()
        is_better = self._error(codes) <= usual
        return (codes if is_better else nearest), is_better

    def finish(self) -> None:
        """Run on behind the block, with the weights that the graph has now."""
        for layer in self.block.layers:
            self.both.quantized.put(_weight(layer), dequantized(self.graph, layer.node))
        self.both.quantized.until(self.block.end)

    def _error(self, codes: list[Tensor]) -> float:
        """The mean square error of the block's outputs over all batches."""
        grids = (grid_of(self.graph, each) for each in self.block.layers)
        weights = [c * grid.steps for c, grid in zip(codes, grids, strict=True)]
        with torch.no_grad():
            errors = [float(self._of_batch(weights, k)) for k in range(len(self.met))]
        return sum(errors) / len(errors)

    def _of_batch(self, weights: list[Tensor], batch: int) -> Tensor:
        given = {
            node: weight.view_as(layer.weight)
            for node, weight, layer in zip(self.weights, weights, self.block.layers, strict=True)
        }
        made = self.segment(self.met[batch], given)
        errors = [
            (y - exact).square().mean() for y, exact in zip(made, self.exact[batch], strict=True)
        ]
        return torch.stack(errors).sum()


def _weight(layer: RoundedLayer) -> Node:
    """The node of a layer's weights in the quantized graph."""
    weight = layer.node.args[1]
    assert isinstance(weight, Node)
    return weight


def _size(block: Block) -> int:
    """What learning a block costs: about its multiplications, and what its calls take."""
    return sum(each.layer.macs + 200_000 for each in block.layers)


def _kept(path: Path | None, block: Block) -> list[Tensor] | None:
    """The codes that an earlier run learned, or None."""
    if path is None:
        return None
    sizes = [each.weight.numel() for each in block.layers]
    kept = artifacts.load_array(path, artifacts.bound(path), (sum(sizes),), np.int16)
    if kept is None:
        return None
    parts = torch.from_numpy(np.array(kept)).split(sizes)
    pairs = zip(parts, block.layers, strict=True)
    return [part.to(each.weight).view(len(each.weight), -1) for part, each in pairs]


def _keep(path: Path | None, codes: list[Tensor]) -> None:
    if path is not None:
        flat = torch.cat([each.flatten() for each in codes]).to(torch.int16).cpu().numpy()
        artifacts.save_array(path, artifacts.bound(path), flat)
