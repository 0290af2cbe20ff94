"""Pipelines at their real size with random weights: images/s and memory of each backend.

The loop is bench's own, with the classes, widths and image sizes of SDXL and of FLUX.1 [dev], in
bfloat16 as people run them; text encoders are left out, as their output is kept by a run, and
random embeddings of the right shapes stand for it. For each row the network is made anew on the
device, with the same random weights; its backend quantizes it in place as in a run, and one batch
is sampled twice, of which the second time counts. A row says

    quantized            share of the multiply-accumulates of the network
    images_per_second    of the whole loop, decoding included
    weights_gb, peak_gb  memory of the device before sampling, and at most while it samples
    making_gb            at most while the network was made and quantized
    psnr                 of the images against those of the first row

No row begins after SECONDS, each is written as soon as it is known, and one that fails writes its
error. `make` and `quantize` are seconds.

    python benchmarks/pipeline_speed.py --device cuda --seconds 400 --out F
    OMP_NUM_THREADS=1 python benchmarks/pipeline_speed.py --tiny
"""

from __future__ import annotations

import argparse
import functools
import gc
import json
import math
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch

from bench.core import extensions
from bench.core.cell import PIPELINE, Draw
from bench.core.denoiser import Denoiser
from bench.core.errors import NotExecuted
from bench.core.noise_levels import NoiseLevels
from bench.core.scheme import Scheme
from bench.models.pipelines.calls import Called
from bench.models.pipelines.folder import Index
from bench.models.pipelines.loop import PipelineLoop
from bench.models.samplers.loop_trajectories import LoopTrajectories
from bench.system import devices, weightless
from bench.system.host import fingerprint, instruction_set, threads
from bench.system.quiet import quiet_diffusers, quiet_import

BACKENDS = (
    *("float", "ao-float8", "ao-int8", "ao-int8-weight", "ao-int4-weight", "bnb-nf4", "bnb-int8"),
    *("quanto-int8", "quanto-int4", "gguf-q8", "gguf-q4", "simulated"),
)
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


def loop_of(
    name: str, device: str, dtype: torch.dtype, tiny: bool
) -> tuple[PipelineLoop, torch.nn.Module]:
    """The loop of a model and its network with random weights, made on the device."""
    import diffusers

    kind, component = CLASSES[name]
    torch.manual_seed(0)
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
    form = weightless.form(network).eval()
    config, empty = network.config, dict.fromkeys(("tokenizer", "tokenizer_2"))
    parts: dict[str, Any] = {component: form, "vae": vae.eval(), **empty}
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
    return PipelineLoop(pipe, index, ("",), size, held, {}), network.eval()


def denoiser_of(loop: PipelineLoop, network: torch.nn.Module, device: str) -> Denoiser:
    """The network as a backend of a run is given it."""
    called = Called(network, loop.form, loop.shapes).eval()
    shape: Any = loop.shapes[0][1:]
    levels = NoiseLevels.flow(1000)
    words = called, levels, "flow_prediction", shape
    return Denoiser(*words, clips=False, device=device, loop=loop, is_spare=True)


def executed(name: str, backend: str, asked: argparse.Namespace) -> tuple[Any, dict[str, Any]]:
    """A sampler of one batch by one execution, and what is known before it samples.

    Raises:
        NotExecuted: the backend refuses it, with its reason.
    """
    device, made = asked.device, extensions.lookup("backends", backend)()
    scheme = Scheme.parse(getattr(made, "bits", "" if backend == "float" else "w8a8") or "fp32")
    if reason := made.refuses(scheme, fingerprint(device)):
        raise NotExecuted(reason)
    start = time.perf_counter()
    loop, network = loop_of(name, device, getattr(torch, asked.dtype), asked.tiny)
    devices.wait(device)
    seconds = {"make": time.perf_counter() - start}
    draw = Draw(PIPELINE, STEPS, asked.batch, batch=asked.batch, guidance=loop.usual.guidance)
    calibration = LoopTrajectories(loop, draw, asked.batch)
    start = time.perf_counter()
    quantized = made(denoiser_of(loop, network, device), scheme, calibration)
    devices.wait(device)
    seconds["quantize"] = time.perf_counter() - start
    known = {"scheme": str(scheme), "quantized": round(quantized.coverage.share, 4)}
    known |= {key: round(value, 2) for key, value in seconds.items()}
    model = quantized.denoiser.model
    return functools.partial(loop.images, model, "images", draw, range(asked.batch)), known


def row(name: str, backend: str, asked: argparse.Namespace, first: list[Any]) -> dict[str, Any]:
    """Sample one batch by one execution; `first` keeps the images of the first row."""
    is_cuda = asked.device.startswith("cuda")
    gc.collect()
    if is_cuda:
        torch.cuda.empty_cache()
        torch.cuda.reset_peak_memory_stats()
    with quiet_import(), quiet_diffusers(), torch.no_grad():
        sample, made = executed(name, backend, asked)
        if is_cuda:
            made["making_gb"] = gigabytes(torch.cuda.max_memory_allocated())
            gc.collect()
            torch.cuda.reset_peak_memory_stats()
            made["weights_gb"] = gigabytes(torch.cuda.memory_allocated())
        sample()
        devices.wait(asked.device)
        start = time.perf_counter()
        images = sample()
        devices.wait(asked.device)
        seconds = time.perf_counter() - start
    made |= {"seconds": round(seconds, 3), "images_per_second": round(asked.batch / seconds, 4)}
    if is_cuda:
        made["peak_gb"] = gigabytes(torch.cuda.max_memory_allocated())
    if first:
        error = (images.double() - first[0].double()).square().mean().item()
        made["psnr"] = round(10 * math.log10(255**2 / error), 1) if error else "equal"
    else:
        first.append(images)
    return made


def gigabytes(count: int) -> float:
    """A number of bytes in GB."""
    return round(count / 1e9, 2)


def measured(name: str, backend: str, asked: argparse.Namespace, first: list[Any]) -> Any:
    """A row, or why there is none: one that does not run here says so, and the others go on."""
    try:
        return row(name, backend, asked, first)
    except NotExecuted as error:
        return {"refused": str(error)}
    except Exception as error:
        return {"failed": f"{type(error).__name__}: {' '.join(str(error).split())[:300]}"}


def arguments() -> argparse.Namespace:
    """What is asked for."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--models", default="sdxl,flux")
    parser.add_argument("--backends", default=",".join(BACKENDS))
    parser.add_argument("--device", default="cpu")
    parser.add_argument("--dtype", default="bfloat16")
    parser.add_argument("--seconds", type=float, default=400)
    parser.add_argument("--batch", type=int, default=1)
    parser.add_argument("--tiny", action="store_true", help="widths of tests, for a CPU")
    parser.add_argument("--out", type=Path, help="file that gets the lines, too")
    return parser.parse_args()


def main() -> None:
    """Print a line of JSON for each model and backend."""
    asked = arguments()
    start, lines = time.monotonic(), list[str]()
    gpu = torch.cuda.get_device_name() if asked.device.startswith("cuda") else instruction_set()

    def told(**words: Any) -> None:
        lines.append(json.dumps(words))
        print(lines[-1], flush=True)
        if asked.out:
            asked.out.write_text("\n".join(lines) + "\n", encoding="utf-8")

    told(device=gpu, threads=threads(), tiny=asked.tiny, batch=asked.batch, steps=STEPS)
    for name in asked.models.split(","):
        first: list[Any] = []
        for backend in asked.backends.split(","):
            known = {"model": name, "backend": backend, "dtype": asked.dtype}
            if time.monotonic() - start > asked.seconds:
                told(**known, refused="no time")
            else:
                told(**known, **measured(name, backend, asked, first))


if __name__ == "__main__":
    main()
