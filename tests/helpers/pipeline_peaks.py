"""Prints the peak of memory of a cell of a pipeline: python pipeline_peaks.py FOLDER BACKEND.

The pipeline is one of FLUX whose transformer has 100 MB of weights. `bench run` of the folder's
card, in this process alone, as the peak of a process never falls.
"""

import resource
import sys
from pathlib import Path

import torch

LAYERS, HEADS, EDGE = 2, 16, 32


def network():
    """A transformer that is large beside what the libraries take for a batch."""
    from diffusers import FluxTransformer2DModel

    return FluxTransformer2DModel(
        patch_size=1,
        in_channels=16,
        num_layers=LAYERS,
        num_single_layers=LAYERS,
        attention_head_dim=EDGE,
        num_attention_heads=HEADS,
        joint_attention_dim=32,
        pooled_projection_dim=32,
        axes_dims_rope=(8, 12, 12),
        guidance_embeds=True,
    )


def saved(folder: Path) -> int:
    """Save the pipeline with its card; the bytes of the network's weights."""
    from helpers import tiny_pipelines
    from helpers.tiny import write_cards

    torch.manual_seed(0)
    pipe = tiny_pipelines.flux()
    pipe.register_modules(transformer=network())
    pipe.save_pretrained(folder / "flux")
    fields = {"name": "it", "family": "it", "method": "baseline", "source": "pipeline"}
    fields |= {"uri": "flux", "dataset": "none", "config": tiny_pipelines.OPTIONS["flux"]}
    write_cards(folder, [fields])
    return sum(parameter.nbytes for parameter in pipe.transformer.parameters())


def main() -> None:
    """Run the cell; the peak in bytes is the last line."""
    from bench.cli.app import app

    folder, backend = Path(sys.argv[1]), sys.argv[2]
    scheme = ("fp32",) if backend == "float" else ("w8a8", "--backend", backend)
    words = ["run", "--cards", str(folder / "checkpoints.yaml"), "--scheme", *scheme]
    words += ["--images", "2", "--batch", "2", "--steps", "2", "--metrics", "psnr"]
    words += ["--floor", "none", "--out", str(folder / backend)]
    app(words, standalone_mode=False)
    print(1024 * resource.getrusage(resource.RUSAGE_SELF).ru_maxrss)


if __name__ == "__main__":
    main()
