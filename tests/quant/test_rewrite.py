"""Copying graphs node by node."""

from __future__ import annotations

import torch
from torch import nn
from torch.fx import symbolic_trace

from bench.quant.rewrite import Rewriter


def test_tensors_that_nobody_else_holds_stay_constants_of_their_own() -> None:
    rewriter = Rewriter(symbolic_trace(nn.Identity()))
    nodes = [rewriter.node(torch.tensor([number])) for number in range(50)]
    values = [int(getattr(rewriter.root, str(node.target))) for node in nodes]
    assert values == list(range(50))
