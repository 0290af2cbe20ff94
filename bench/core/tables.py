"""The tables of extensions: each name and what it stands for, "module:attribute".

Adding an extension costs a module, a line here and a test file. Nothing is imported before it is
looked up (`bench.core.extensions`).
"""

from __future__ import annotations

SOURCES = {
    "safetensors": "bench.models.sources.weights_file:load",
    "torch": "bench.models.sources.weights_file:load",
    "adm": "bench.models.sources.adm:load",
    "edm": "bench.models.sources.edm:load",
    "edm2": "bench.models.sources.edm2:load",
    "sit": "bench.models.sources.sit:load",
    "diffusers": "bench.models.sources.diffusers_folder:load",
    "python": "bench.models.sources.python:load",
    "pipeline": "bench.models.sources.pipeline:load",
}
DATASETS = {
    "fashion-mnist": "bench.measurement.data.fashion_mnist:load",
    "cifar10": "bench.measurement.data.cifar10:load",
    "lsun-tower": "bench.measurement.data.lsun_tower:load",
    "ffhq": "bench.measurement.data.ffhq:load",
    "folder": "bench.measurement.data.folder:load",
}
BACKENDS = {
    "float": "bench.quant.backends.full_precision:FullPrecision",
    "simulated": "bench.quant.backends.simulated:Simulated",
    "int8-x86": "bench.quant.backends.int8:Int8X86",
    "int8-cuda": "bench.quant.backends.int8:Int8Cuda",
    "int8-openvino": "bench.quant.backends.int8_openvino:Int8OpenVino",
    "bnb-int8": "bench.quant.backends.linear_only:BnbInt8",
    "bnb-nf4": "bench.quant.backends.linear_only:BnbNf4",
    "bnb-fp4": "bench.quant.backends.linear_only:BnbFp4",
    "ao-int8": "bench.quant.backends.linear_only:AoInt8",
    "ao-int8-weight": "bench.quant.backends.linear_only:AoInt8Weight",
    "ao-int4-weight": "bench.quant.backends.ao_int4:AoInt4Weight",
    "ao-float8": "bench.quant.backends.ao_float8:AoFloat8",
    "gguf-q8": "bench.quant.backends.gguf:GgufQ8",
    "gguf-q4": "bench.quant.backends.gguf:GgufQ4",
    "quanto-int8": "bench.quant.backends.quanto:QuantoInt8",
    "quanto-int4": "bench.quant.backends.quanto:QuantoInt4",
}
METHODS = {
    "adaround": "bench.quant.methods.adaround:AdaRound",
    "asymmetric": "bench.quant.methods.asymmetric:Asymmetric",
    "bias": "bench.quant.methods.bias_correction:BiasCorrection",
    "brecq": "bench.quant.methods.block_reconstruction:BlockReconstruction",
    "equalize": "bench.quant.methods.equalize:Equalize",
    "finetune": "bench.quant.methods.fine_tuning:FineTuning",
    "g16": "bench.quant.methods.groups:Groups16",
    "g32": "bench.quant.methods.groups:Groups32",
    "g64": "bench.quant.methods.groups:Groups64",
    "g128": "bench.quant.methods.groups:Groups128",
    "gptq": "bench.quant.methods.gptq:Gptq",
    "lowrank": "bench.quant.methods.low_rank:LowRank",
    "mse": "bench.quant.methods.squared_error:SquaredError",
    "percentile": "bench.quant.methods.percentile:Percentile",
    "smooth": "bench.quant.methods.smooth:Smooth",
    "split": "bench.quant.methods.shortcut_split:ShortcutSplit",
    "tgroups": "bench.quant.methods.timestep_groups:TimestepGroups",
    "python": "bench.quant.methods.from_file:FromFile",
    "weights": "bench.evaluation.given_weights:GivenWeights",
}
# Methods that choose the codes of weights: the word `rtn` contradicts them, and they each other.
ROUNDINGS = ("gptq", "adaround", "brecq")
# Methods whose argument begins with the path of a file, of which the content decides the numbers.
OF_FILES = ("python", "weights")
SAMPLERS = {
    "ddim": "bench.models.samplers.ddim:ddim",
    "ddpm": "bench.models.samplers.ddpm:ddpm",
    "dpmpp-2m": "bench.models.samplers.dpmpp_2m:dpmpp_2m",
    "heun": "bench.models.samplers.heun:heun",
}
EXTRACTORS = {
    "efficientnet": "bench.measurement.features.efficientnet:EfficientNet",
    "inception": "bench.measurement.features.inception:Inception",
    "inception-legacy-pytorch": "bench.measurement.features.inception:LegacyPytorch",
    "inception-legacy-tensorflow": "bench.measurement.features.inception:LegacyTensorflow",
    "inception-spatial": "bench.measurement.features.inception:Spatial",
    "inception-classes": "bench.measurement.features.inception:Classes",
    "dinov2": "bench.measurement.features.vit:Dinov2",
    "clip": "bench.measurement.features.vit:Clip",
}
METRICS = {
    "frechet": "bench.measurement.metrics.frechet:Frechet",
    "frechet_twin": "bench.measurement.metrics.frechet:FrechetTwin",
    "frechet_infinity": "bench.measurement.metrics.frechet_infinity:FrechetInfinity",
    "precision": "bench.measurement.metrics.precision_recall:Precision",
    "recall": "bench.measurement.metrics.precision_recall:Recall",
    "density": "bench.measurement.metrics.precision_recall:Density",
    "coverage": "bench.measurement.metrics.precision_recall:RealCoverage",
    "kernel": "bench.measurement.metrics.kernel:Kernel",
    "cmmd": "bench.measurement.metrics.cmmd:Cmmd",
    "psnr": "bench.measurement.metrics.paired:Psnr",
    "psnr_simulated": "bench.measurement.metrics.paired:SimulatedPsnr",
    "ssim": "bench.measurement.metrics.paired:Ssim",
    "ms_ssim": "bench.measurement.metrics.ms_ssim:MsSsim",
    "ssimulacra2": "bench.measurement.metrics.ssimulacra2:Ssimulacra2",
    "flip": "bench.measurement.metrics.flip:Flip",
    "lpips": "bench.measurement.metrics.lpips:Lpips",
    "lpips_vgg": "bench.measurement.metrics.lpips:LpipsVgg",
    "dists": "bench.measurement.metrics.dists:Dists",
    "inception_score": "bench.measurement.metrics.inception_score:InceptionScore",
    "clip_score": "bench.measurement.metrics.clip_score:ClipScore",
}
PROBES = {
    "perturbation": "bench.measurement.probes.perturbation:Perturbation",
    "flatness": "bench.measurement.probes.flatness:Flatness",
    "hessian": "bench.measurement.probes.hessian:Hessian",
    "exposure": "bench.measurement.probes.exposure_bias:Exposure",
    "prior": "bench.measurement.probes.prior_shift:Prior",
    "sensitivity": "bench.measurement.probes.sensitivity:Sensitivity",
    "allocation": "bench.measurement.probes.allocation:BitAllocation",
}
ENGINES = {
    "local": "bench.evaluation.engines.local:run",
    "processes": "bench.evaluation.engines.processes:run",
    "ray": "bench.evaluation.engines.ray_cluster:run",
}

TABLES = {
    "sources": SOURCES,
    "datasets": DATASETS,
    "backends": BACKENDS,
    "methods": METHODS,
    "samplers": SAMPLERS,
    "extractors": EXTRACTORS,
    "metrics": METRICS,
    "probes": PROBES,
    "engines": ENGINES,
}
# Words that mean something else where names of a table are written, as in a scheme: w4a8+minmax.
WORDS = ("all", "also", "by-macs", "skip-io", "skip-io-time", "minmax", "rtn", "skip")
RESERVED = {"methods": WORDS}
# Functions that identify what decides the numbers of an extension besides its code (packages,
# weights); they take its name, and its argument where they have a parameter of that name, and lie
# in modules that need no torch.
IDENTITIES = {
    "sources pipeline": "bench.models.pipelines.identities:versions",
    "extractors efficientnet": "bench.measurement.features.identities:embedded",
    "extractors inception": "bench.measurement.features.identities:inception",
    "extractors inception-legacy-pytorch": "bench.measurement.features.identities:inception",
    "extractors inception-legacy-tensorflow": "bench.measurement.features.identities:inception",
    "extractors inception-spatial": "bench.measurement.features.identities:inception",
    "extractors inception-classes": "bench.measurement.features.identities:inception",
    "extractors dinov2": "bench.measurement.features.pretrained:versions",
    "extractors clip": "bench.measurement.features.pretrained:versions",
    "metrics flip": "bench.measurement.metrics.identities:flip",
    "metrics lpips": "bench.measurement.metrics.identities:weighted",
    "metrics lpips_vgg": "bench.measurement.metrics.identities:weighted",
    "metrics dists": "bench.measurement.metrics.identities:weighted",
    "metrics clip_score": "bench.measurement.features.pretrained:with_text",
    "backends int8-openvino": "bench.quant.identities:openvino",
    "backends bnb-int8": "bench.quant.identities:bitsandbytes",
    "backends bnb-nf4": "bench.quant.identities:bitsandbytes",
    "backends bnb-fp4": "bench.quant.identities:bitsandbytes",
    "backends gguf-q8": "bench.quant.identities:gguf",
    "backends gguf-q4": "bench.quant.identities:gguf",
    "backends quanto-int8": "bench.quant.identities:quanto",
    "backends quanto-int4": "bench.quant.identities:quanto",
    "methods adaround": "bench.quant.identities:method",
    "methods asymmetric": "bench.quant.identities:method",
    "methods bias": "bench.quant.identities:method",
    "methods brecq": "bench.quant.identities:method",
    "methods equalize": "bench.quant.identities:method",
    "methods finetune": "bench.quant.identities:method",
    "methods g16": "bench.quant.identities:method",
    "methods g32": "bench.quant.identities:method",
    "methods g64": "bench.quant.identities:method",
    "methods g128": "bench.quant.identities:method",
    "methods gptq": "bench.quant.identities:method",
    "methods lowrank": "bench.quant.identities:method",
    "methods mse": "bench.quant.identities:method",
    "methods percentile": "bench.quant.identities:method",
    "methods smooth": "bench.quant.identities:method",
    "methods split": "bench.quant.identities:method",
    "methods tgroups": "bench.quant.identities:method",
    "methods python": "bench.quant.identities:of_file",
    "methods weights": "bench.quant.identities:of_file",
}
