"""The command line on a machine with a second device, `second` (second_device.cpp).

    python second_device.py WORDS...

Its C++ is built first, into TORCH_EXTENSIONS_DIR. `int8-cuda` takes it for a GPU.
"""

import types
from pathlib import Path

import torch
from torch.utils import cpp_extension


def install():
    """Build the device and register it with torch."""
    source = Path(__file__).with_suffix(".cpp")
    made = cpp_extension.load("second_device_of_tests", [str(source)], extra_cflags=["-O1"])
    made.install()
    torch.utils.rename_privateuse1_backend("second")
    module = types.ModuleType("torch.second")
    module.is_available = module.is_initialized = lambda: True
    module._is_in_bad_fork = lambda: False
    module.current_device, module.device_count = lambda: 0, lambda: 1
    torch._register_device_module("second", module)


def main():
    install()
    from bench.cli import app
    from bench.quant.backends import int8

    int8.Int8Cuda.refuses = lambda self, scheme, host: int8.refuses_floats(scheme)
    app.main()


if __name__ == "__main__":
    main()
