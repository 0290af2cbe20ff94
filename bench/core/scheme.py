"""Quantization schemes: bit widths, ranges and what stays in float, read and printed as text."""

from __future__ import annotations

import re
from dataclasses import dataclass, replace

from bench.core import scheme_words
from bench.core.errors import InputError
from bench.core.printable import quoted

FLOAT_BITS = (16, 32)


# Longest scheme text that fits a table or figure.
LABEL = 40


_SCHEME = re.compile(r"w(?:([0-9]{1,2})|~([0-9]{1,2}(?:\.[0-9]{1,9})?))a([0-9]{1,2})")
# Most bits of a weight under a budget.
CEILING = 8


@dataclass(frozen=True)
class Scheme:
    """Bit widths and how ranges are found. Weights: symmetric, per output channel; activations:
    affine, per tensor, static ranges from calibration.

    Attributes:
        weight_bits: 2..8, or 16/32 for untouched weights; under a budget the most that any has.
        act_bits: 2..8, or 16/32 for untouched activations.
        edge_bits: least bits of weights and activations of the first and the last convolution, as
            the literature keeps them at 8; 0 treats them like all others, 32 leaves them in float.
        observer: "histogram" (ranges of least squared error) or "minmax".
        calibration: sampling trajectories used for calibration, rounded up to whole batches.
        skip: globs of module names left in float.
        methods: what changes the calibrated graph, in this order: names in `tables.METHODS`,
            each with what follows its ":" as argument, "NAME" or "NAME:VALUE".
        elsewhere: name of a set of images that bench did not make, "" for its own; what was
            quantized is then not known, and the other fields say nothing.
        budget: most bits that quantized weights may have on average, above 2 and below 8, where
            each layer gets bits of its own; 0 where all have `weight_bits`.
        by_macs: whether that average counts a layer by its multiply-accumulates, not its weights.
        also: parts of a prompted pipeline that are quantized beside its network: `ALSO`.
    """

    weight_bits: int = 32
    act_bits: int = 32
    edge_bits: int = 8
    observer: str = "histogram"
    calibration: int = 50
    skip: tuple[str, ...] = ()
    methods: tuple[str, ...] = ()
    elsewhere: str = ""
    budget: float = 0.0
    by_macs: bool = False
    also: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        for bits, what in ((self.weight_bits, "weight"), (self.act_bits, "activation")):
            if bits not in FLOAT_BITS and not 2 <= bits <= 8:
                raise InputError(f"{what} bits must be 2..8, or 16 or 32 for float, not {bits}")
        if self.observer not in ("histogram", "minmax"):
            raise InputError(f"observer must be histogram or minmax, not {quoted(self.observer)}")
        if self.edge_bits not in (0, 8, 32):
            raise InputError(f"edge bits must be 0, 8, or 32 for float, not {self.edge_bits}")
        scheme_words.check_budget(self)
        scheme_words.check_globs(self.skip)
        scheme_words.check_methods(self.methods)
        scheme_words.check_also(self.also, self.is_float)
        if self.methods and self.is_float:
            raise InputError("methods act on what is quantized, and full precision is not")

    @property
    def is_float(self) -> bool:
        """Whether nothing is quantized."""
        return (
            not self.elsewhere and self.weight_bits in FLOAT_BITS and self.act_bits in FLOAT_BITS
        )

    @classmethod
    def parse(cls, text: str) -> Scheme:
        """Read "fp32", "w8a8", "w4a8", "w4a8+all", "w4a8+minmax", "w4a8+skip=GLOB", "w4a8+METHOD".

        "w~4.5a8" gives each layer bits of its own, 4.5 on average over all weights at most, and
        "w~4.5a8+by-macs" over their multiply-accumulates.

        "skip-io" leaves the first and the last convolution in float, "skip-io-time" also the
        layers of the time embedding. Methods are written "NAME" or "NAME=VALUE", in the order in
        which they act; none is imported.

        "rtn" says plain rounding, which is there without it too.

        Raises:
            InputError: unknown words, bits out of range, or an option that does nothing here.
        """
        shown = quoted(text)
        if len(text) > (most := scheme_words.LONGEST):
            raise InputError(f"a scheme of {len(text)} characters, {shown}: at most {most}")
        head, *words = text.strip().split("+")
        if head.lower() == "fp32" and not words:
            return cls()
        match = _SCHEME.fullmatch(head.lower())
        if not match:
            raise InputError(f"unknown scheme {shown}: write for example w8a8, w4a8 or w~4.5a8")
        bits, mean, act_bits = match.groups()
        budget = float(mean) if mean else 0.0
        scheme_words.check_mean(budget, bool(mean))
        scheme = cls(int(bits or CEILING), int(act_bits), budget=budget)
        if scheme.is_float:
            raise InputError(f"scheme {shown} quantizes nothing: full precision is fp32")
        try:
            for word in scheme_words.without_rtn(words):
                scheme = replace(scheme, **scheme_words.option(scheme, word))
        except ValueError as error:
            raise InputError(f"option {error} in scheme {shown}") from None
        return scheme

    def __str__(self) -> str:
        if self.elsewhere:
            return self.elsewhere
        if self.is_float:
            return "fp32"
        weights = f"~{self.budget:g}" if self.budget else self.weight_bits
        words = [f"w{weights}a{self.act_bits}"]
        if self.edge_bits == 0:
            words.append("all")
        if self.edge_bits in FLOAT_BITS:
            words.append("skip-io")
        if self.observer == "minmax":
            words.append("minmax")
        if self.by_macs:
            words.append("by-macs")
        words += self.method_names
        words += [f"also={name}" for name in self.also]
        return "+".join([*words, *(f"skip={glob}" for glob in self.skip)])

    @property
    def label(self) -> str:
        """The name where there is little room: of a long skip list its length, "w4a8+4 skipped".

        Lists of equal length share it, as those that a probe suggests to each checkpoint do.
        """
        text = str(self)
        if len(text) <= LABEL or not self.skip:
            return text
        return f"{replace(self, skip=())}+{len(self.skip)} skipped"

    @property
    def mean_bits(self) -> float:
        """Bits of a weight, under a budget on average."""
        return self.budget or self.weight_bits

    def layer_bits(self, edge: bool) -> tuple[int, int]:
        """Bits (weight, activation) of a layer; `edge` marks the first and last convolution.

        Under a budget a layer may have fewer bits of weights.
        """
        least = self.edge_bits if edge else 0
        return max(self.weight_bits, least), max(self.act_bits, least)

    def explain(self) -> str:
        """The scheme in words, as echoed and recorded."""
        if self.elsewhere:
            return "images from elsewhere; what was quantized is not known"
        if self.is_float:
            return "full precision (float32)"
        weights = scheme_words.budget_in_words(self) or f"{_bits(self.weight_bits)} weights"
        rest = f"{weights}, {_bits(self.act_bits)} activations"
        edge_weight, edge_act = self.layer_bits(edge=True)
        alike = (edge_weight, edge_act) == (self.weight_bits, self.act_bits)
        if alike and not (self.budget and self.edge_bits):
            edges = "every convolution and linear layer"
        elif edge_weight in FLOAT_BITS and edge_act in FLOAT_BITS:
            edges = "first and last convolution in float"
        else:
            edges = f"first and last convolution at W{edge_weight}A{edge_act}"
        skipped = f"; in float: {', '.join(self.skip)}" if self.skip else ""
        beside = f"; beside the network also: {', '.join(self.also)}" if self.also else ""
        plural = "s" * (len(self.methods) > 1)
        names = ", then ".join(self.method_names)
        acting = f"; changed by the quantization method{plural} {names}" if names else ""
        return (
            f"{rest}, {edges}{skipped}; weights symmetric per channel, activations affine per "
            f"tensor, static {self.observer} ranges from at least {self.calibration} trajectories"
            f"{acting}{beside}"
        )

    @property
    def method_names(self) -> tuple[str, ...]:
        """The methods as a scheme has them: "NAME" or "NAME=VALUE"."""
        return tuple(map(scheme_words.written, self.methods))


def _bits(bits: int) -> str:
    return "float" if bits in FLOAT_BITS else f"{bits}-bit"
