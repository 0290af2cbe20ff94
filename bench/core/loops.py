"""A loop of another program that samples a network: what bench asks of it.

Ordinary networks are sampled by the suite's own samplers. A prompted pipeline brings its own loop:
it makes the noise, encodes the prompt, walks through the levels of its scheduler, guides, and
decodes. Of all that bench replaces the network alone, and gives the generator of each image.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Protocol

if TYPE_CHECKING:
    from torch import Tensor, nn

    from bench.core.cell import Draw


class Loop(Protocol):
    """Samples images by a network that it is given.

    Attributes:
        image_shape: (C, H, W) of the images.
        dtype: what it is computed in: float32, bfloat16, float16.
    """

    @property
    def dtype(self) -> str: ...

    @property
    def image_shape(self) -> tuple[int, int, int]: ...

    def told(self, is_quantized: bool) -> str:
        """What full precision means, or which parts stay as they are, in words."""

    def images(
        self, model: Callable[..., Tensor], stream: str, draw: Draw, indices: Sequence[int]
    ) -> Tensor:
        """Images, uint8 (B, C, H, W) on the CPU; that of index i depends on i and the draw alone.

        Args:
            model: in the place of the network: (inputs) -> prediction, the inputs being tensors
                like those of `example_inputs`.
            stream: separates the noise of images from that of calibration.
            draw: steps, guidance and seed.
            indices: of the images.
        """

    def latents(
        self, model: Callable[..., Tensor], stream: str, draw: Draw, indices: Sequence[int]
    ) -> None:
        """The same without decoding, for what the network is given on the way."""

    def rows(self, draw: Draw) -> int:
        """Images of each evaluation of the network: the batch, or twice as many under guidance."""

    def calls(self, draw: Draw) -> int:
        """Evaluations of the network for a batch of images."""

    def example_inputs(self, rows: int) -> tuple[Tensor, ...]:
        """What the network is called with first, for so many images of one evaluation."""

    def plan(self, draw: Draw) -> list[str]:
        """What a cell of the draw takes, in lines: bytes, steps and evaluations."""

    def with_encoders(self, executed: Callable[[str, nn.Module, bool], float], key: str) -> Loop:
        """The same loop with quantized text encoders; this one stays as it is.

        Args:
            executed: (name, encoder, is_form) -> the share of the weights of its linear layers
                that is quantized; replaces layers, unless it is a form without its weights.
            key: of all that decides what they compute, for what is kept of encoded prompts.

        Raises:
            NotExecuted: nothing of an encoder can be quantized.
        """

    def to(self, device: str) -> object:
        """Move all parts but the network to a device."""
