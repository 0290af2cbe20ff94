"""What decides the arithmetic of backends that execute the kernels of another package, and the
versions of bench's own methods, which rise with their arithmetic, not with its rounding."""

from __future__ import annotations

from importlib import metadata

from bench.quant.methods import from_file
from bench.system import given_files

BITSANDBYTES = "bitsandbytes"
METHOD_VERSIONS = {
    "adaround": 1,
    "asymmetric": 1,
    "bias": 1,
    "brecq": 1,
    "equalize": 1,
    "finetune": 1,
    "groups": 1,
    "gptq": 1,
    "lowrank": 1,
    "mse": 1,
    "percentile": 2,
    "smooth": 1,
    "split": 1,
    "tgroups": 1,
}
GROUPS = ("g16", "g32", "g64", "g128")


def bitsandbytes(backend: str = "") -> dict[str, str]:
    """What decides the numbers of the backends of bitsandbytes: its version."""
    return _package(BITSANDBYTES)


def openvino(backend: str = "") -> dict[str, str]:
    """What decides the numbers of the backend of OpenVINO: its version."""
    return _package("openvino")


def gguf(backend: str = "") -> dict[str, str]:
    """What decides the numbers of the backends of gguf: its version."""
    return _package("gguf")


def quanto(backend: str = "") -> dict[str, str]:
    """What decides the numbers of the backends of optimum-quanto: its version."""
    return _package("optimum-quanto")


def _package(name: str) -> dict[str, str]:
    try:
        return {"package": f"{name} {metadata.version(name)}"}
    except metadata.PackageNotFoundError:
        return {"package": f"{name} missing"}


def of_file(name: str, argument: str) -> dict[str, str]:
    """What decides the numbers of a method of a file beside bench's own code: the file's content.

    Args:
        name: "python" or "weights".
        argument: the path of the file, and for "python" the name of the function.

    Raises:
        InputError: no such file.
    """
    if name == "python":
        return {"sha256": from_file.sha256(argument)}
    return {"sha256": given_files.sha256(given_files.place(argument))}


def method(name: str) -> dict[str, str]:
    """What decides the numbers of a method of bench: its version."""
    return {"version": str(METHOD_VERSIONS["groups" if name in GROUPS else name])}
