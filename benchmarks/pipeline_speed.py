"""Pipelines at their real size with random weights: images/s and memory of each backend.

The loop is bench's own, with the classes, widths and image sizes of SDXL and of FLUX.1 [dev]; text
encoders are left out, as their output is kept by a run, and random embeddings of the right shapes
stand for it. One network after the other is made on the device, its linear layers replaced as the
backend does it, and one batch sampled twice, of which the second time counts. No row begins after
SECONDS, and each is written as soon as it is known.

    python benchmarks/pipeline_speed.py --models sdxl,flux --device cuda --seconds 170 --out F
    OMP_NUM_THREADS=1 python benchmarks/pipeline_speed.py --tiny
"""

from __future__ import annotations

import argparse
import functools
import gc
import json
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import torch

from bench.core import extensions
from bench.core.cell import PIPELINE, Draw
from bench.models.pipelines.folder import Index
from bench.models.pipelines.loop import PipelineLoop
from bench.system import devices
from bench.system.host import instruction_set, threads
from bench.system.quiet import quiet_diffusers, quiet_import

BACKENDS = ("", "ao-int8", "ao-int8-weight", "bnb-int8", "bnb-nf4")
STEPS = 4
TEXT = {"sdxl": 77, "flux": 512}
CLASSES = {
    "sdxl": ("StableDiffusionXLPipeline", "unet"),
    "flux": ("FluxPipeline", "transformer"),
}


class Words:
    """Random embeddings in the place of text encoders."""

    def __init__(self, *shapes: Sequence[int], dtype: torch.dtype, device: str) -> None:
        self.shapes, self.dtype, self.device = shapes, dtype, device

    def __call__(self, *arguments: Any, **named: Any) -> tuple[torch.Tensor, ...]:
        """Embeddings for as many prompts as there are; the first size of a shape is theirs."""
        prompts = named.get("prompt", arguments[0] if arguments else [])
        given: dict[str, Any] = {"dtype": self.dtype, "device": self.device}
        return tuple(
            torch.zeros(shape, **given)
            if shape[0]
            else torch.randn(len(prompts), *shape[1:], **given)
            for shape in self.shapes
        )

    def release(self) -> None:
        """There is nothing in memory."""


def sdxl_network(tiny: bool) -> Any:
    """The U-Net of Stable Diffusion XL."""
    from diffusers import UNet2DConditionModel

    return UNet2DConditionModel(
        sample_size=16 if tiny else 128,
        block_out_channels=(32, 64, 64) if tiny else (320, 640, 1280),
        down_block_types=("DownBlock2D", "CrossAttnDownBlock2D", "CrossAttnDownBlock2D"),
        up_block_types=("CrossAttnUpBlock2D", "CrossAttnUpBlock2D", "UpBlock2D"),
        transformer_layers_per_block=(1, 1, 1) if tiny else (1, 2, 10),
        attention_head_dim=(2, 4, 4) if tiny else (5, 10, 20),
        cross_attention_dim=32 if tiny else 2048,
        use_linear_projection=True,
        addition_embed_type="text_time",
        addition_time_embed_dim=8 if tiny else 256,
        projection_class_embeddings_input_dim=80 if tiny else 2816,
    )


def flux_network(tiny: bool) -> Any:
    """The transformer of FLUX.1 [dev]."""
    from diffusers import FluxTransformer2DModel

    return FluxTransformer2DModel(
        in_channels=16 if tiny else 64,
        num_layers=1 if tiny else 19,
        num_single_layers=1 if tiny else 38,
        attention_head_dim=16 if tiny else 128,
        num_attention_heads=2 if tiny else 24,
        joint_attention_dim=32 if tiny else 4096,
        pooled_projection_dim=32 if tiny else 768,
        axes_dims_rope=(4, 4, 8) if tiny else (16, 56, 56),
        guidance_embeds=True,
    )


def decoder(channels: int, tiny: bool, **more: Any) -> Any:
    """The decoder of both, with latents of so many channels."""
    from diffusers import AutoencoderKL

    widths = (16, 32) if tiny else (128, 256, 512, 512)
    return AutoencoderKL(
        block_out_channels=widths,
        down_block_types=("DownEncoderBlock2D",) * len(widths),
        up_block_types=("UpDecoderBlock2D",) * len(widths),
        layers_per_block=1 if tiny else 2,
        latent_channels=channels,
        norm_num_groups=8 if tiny else 32,
        **more,
    )


def loop_of(name: str, device: str, dtype: torch.dtype, tiny: bool) -> PipelineLoop:
    """The loop of a model with random weights, made on the device."""
    import diffusers

    kind, component = CLASSES[name]
    torch.set_default_dtype(dtype)
    with torch.device(device):
        network = (sdxl_network if name == "sdxl" else flux_network)(tiny)
        channels = 4 if name == "sdxl" or tiny else 16
        more: dict[str, Any] = {"scaling_factor": 0.13025}
        if name == "flux":
            more = {"use_quant_conv": False, "use_post_quant_conv": False}
            more |= {"scaling_factor": 0.3611, "shift_factor": 0.1159}
        vae = decoder(channels, tiny, force_upcast=False, **more)
    torch.set_default_dtype(torch.float32)
    config, empty = network.config, dict.fromkeys(("tokenizer", "tokenizer_2"))
    parts: dict[str, Any] = {component: network.eval(), "vae": vae.eval(), **empty}
    parts |= dict.fromkeys(("text_encoder", "text_encoder_2"))
    given: dict[str, Any] = {"dtype": dtype, "device": device}
    if name == "sdxl":
        parts |= {"scheduler": diffusers.EulerDiscreteScheduler(), "add_watermarker": False}
        width, pooled = config.cross_attention_dim, 32 if tiny else 1280
        text = (0, TEXT[name], width)
        words = Words(text, text, (0, pooled), (0, pooled), **given)
    else:
        parts |= {"scheduler": diffusers.FlowMatchEulerDiscreteScheduler()}
        text = (0, TEXT[name], config.joint_attention_dim)
        words = Words(text, (0, config.pooled_projection_dim), (TEXT[name], 3), **given)
    pipe = getattr(diffusers, kind)(**parts)
    pipe.set_progress_bar_config(disable=True)
    pipe.encode_prompt = words
    index = Index(Path(name), kind, component, {}, ())
    size = {"height": 32, "width": 32} if tiny else {"height": 1024, "width": 1024}
    held: Any = words
    return PipelineLoop(pipe, index, ("",), size, held, {})


def replaced(network: torch.nn.Module, backend: str) -> int:
    """Replace the linear layers of a network as a backend does; how many there were."""
    if not backend:
        return 0
    made = extensions.lookup("backends", backend)()
    names = [n for n, m in network.named_modules() if type(m) is torch.nn.Linear]
    for name in names:
        parent, _, last = name.rpartition(".")
        linear = network.get_submodule(name)
        setattr(network.get_submodule(parent), last, made.make(linear))
    return len(names)


def row(name: str, backend: str, device: str, batch: int, tiny: bool) -> dict[str, Any]:
    """Sample one batch by one execution."""
    dtype = torch.bfloat16 if device.startswith("cuda") else torch.float32
    if device.startswith("cuda"):
        torch.cuda.empty_cache()
        torch.cuda.reset_peak_memory_stats()
    with quiet_import(), quiet_diffusers(), torch.no_grad():
        loop = loop_of(name, device, dtype, tiny)
        count = replaced(loop.network, backend)
        draw = Draw(PIPELINE, STEPS, batch, batch=batch, guidance=loop.usual.guidance)
        sample: Callable[[], Any] = functools.partial(
            loop.images, loop.called, "images", draw, range(batch)
        )
        sample()
        devices.wait(device)
        start = time.perf_counter()
        sample()
        devices.wait(device)
        seconds = time.perf_counter() - start
    made: dict[str, Any] = {"model": name, "backend": backend or str(dtype).removeprefix("torch.")}
    made |= {"batch": batch, "steps": STEPS, "layers": count, "seconds": round(seconds, 3)}
    made |= {"images_per_second": round(batch / seconds, 4)}
    if device.startswith("cuda"):
        made["peak_gb"] = round(torch.cuda.max_memory_allocated() / 1e9, 2)
    return made


def main() -> None:
    """Print a line of JSON for each model and backend."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--models", default="sdxl,flux")
    parser.add_argument("--device", default="cpu")
    parser.add_argument("--seconds", type=float, default=170)
    parser.add_argument("--batch", type=int, default=1)
    parser.add_argument("--tiny", action="store_true", help="widths of tests, for a CPU")
    parser.add_argument("--out", type=Path, help="file that gets the lines, too")
    asked = parser.parse_args()
    start, lines = time.monotonic(), []
    gpu = torch.cuda.get_device_name() if asked.device.startswith("cuda") else instruction_set()
    lines.append(json.dumps({"device": gpu, "threads": threads(), "tiny": asked.tiny}))
    print(lines[0])
    for name in asked.models.split(","):
        for backend in BACKENDS:
            if time.monotonic() - start > asked.seconds:
                made = {"model": name, "backend": backend, "left out": "no time"}
            else:
                try:
                    made = row(name, backend, asked.device, asked.batch, asked.tiny)
                # One that does not run here says so, and the others go on.
                except Exception as error:
                    reason = f"{type(error).__name__}: {str(error)[:200]}"
                    made = {"model": name, "backend": backend, "failed": reason}
            lines.append(json.dumps(made))
            print(lines[-1], flush=True)
            if asked.out:
                asked.out.write_text("\n".join(lines) + "\n", encoding="utf-8")
            gc.collect()


if __name__ == "__main__":
    main()
