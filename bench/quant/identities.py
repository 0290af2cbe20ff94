"""What decides the arithmetic of backends that execute the kernels of another package, and the
versions of bench's own methods, which rise with their arithmetic."""

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
    try:
        return {"package": f"{BITSANDBYTES} {metadata.version(BITSANDBYTES)}"}
    except metadata.PackageNotFoundError:
        return {"package": f"{BITSANDBYTES} missing"}


def openvino(backend: str = "") -> dict[str, str]:
    """What decides the numbers of the backend of OpenVINO: its version."""
    try:
        return {"package": f"openvino {metadata.version('openvino')}"}
    except metadata.PackageNotFoundError:
        return {"package": "openvino missing"}


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
