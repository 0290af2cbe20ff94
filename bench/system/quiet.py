"""Keep the known, harmless import noise of libraries off the terminal, and nothing else.

On a CPU torchao tries to load CUDA libraries ("Failed to load ...") and registers enums in a way
that torch deprecates; torch's compiler finds a CUDA toolkit without a GPU; bitsandbytes, which
diffusers imports with transformers, misses kernels that only `bnb-nf4` calls, which names what it
really called. All come through `logging`; only these messages are dropped, and only inside the
block. A block that imports is not searched for garbage either, which libraries make none of.
"""

from __future__ import annotations

import contextlib
import ctypes
import gc
import importlib
import io
import logging
import os
import sys
import threading
import warnings
from collections.abc import Iterable, Iterator
from typing import TextIO

NOISE = {
    "bitsandbytes.autograd._functions": ("MatMul8bitLt: inputs will be cast",),
    "bitsandbytes.backends.cpu.ops": ("Failed to load CPU gemm_4bit_forward",),
    "torch.utils.cpp_extension": ("No CUDA runtime is found",),
    "torchao": ("Failed to load ", "Skipping import of cpp extensions"),
    "torch.fx.experimental.symbolic_shapes": ("Unable to find user code",),
    "torch.utils._pytree": ("is an Enum subclass and is now natively supported",),
    "diffusers.quantizers.torchao.torchao_quantizer": ("Unable to import `torchao` Tensor",),
}


def _keep(record: logging.LogRecord) -> bool:
    return not any(text in record.getMessage() for text in NOISE[record.name])


class _Unsearched:
    """A block in which nothing is searched for garbage, in whatever thread; blocks may overlap."""

    def __init__(self) -> None:
        self._lock, self._blocks, self._is_searched = threading.Lock(), 0, True

    def __enter__(self) -> None:
        with self._lock:
            if not self._blocks:
                self._is_searched = gc.isenabled()
                gc.disable()
            self._blocks += 1

    def __exit__(self, *error: object) -> None:
        with self._lock:
            self._blocks -= 1
            if not self._blocks and self._is_searched:
                gc.enable()


_UNSEARCHED = _Unsearched()


@contextlib.contextmanager
def quiet_import() -> Iterator[None]:
    """Drop the messages of `NOISE` while the block imports.

    What a library makes when it is imported stays, so nothing is searched for garbage meanwhile:
    for torch and diffusers that takes a fifth of their time.
    """
    with _UNSEARCHED, quiet_messages():
        yield


def load(names: Iterable[str]) -> None:
    """Import modules that this process needs until its end, but those that are not there.

    What was there by then, all libraries above all, is not searched for garbage afterwards either,
    as each full search would take a third of a second. That is done but once for each module.

    Args:
        names: of the modules.
    """
    missing = [name for name in names if name not in sys.modules]
    with quiet_import():
        for name in missing:
            with contextlib.suppress(ImportError):
                importlib.import_module(name)
    if any(name in sys.modules for name in missing):
        gc.freeze()


@contextlib.contextmanager
def quiet_messages() -> Iterator[None]:
    """Drop the messages of `NOISE` from their loggers while the block runs."""

    # Another function each time: a logger takes one but once, and blocks may lie in each other.
    def keep(record: logging.LogRecord) -> bool:
        return _keep(record)

    loggers = [logging.getLogger(name) for name in NOISE]
    for logger in loggers:
        logger.addFilter(keep)
    try:
        yield
    finally:
        for logger in loggers:
            logger.removeFilter(keep)


def quiet_products() -> None:
    """Drop, from now on, what bitsandbytes says at each product of its int8 layers: that it rounds
    the inputs to float16 before they become int8, which is a part of LLM.int8 for any input."""
    logging.getLogger("bitsandbytes.autograd._functions").addFilter(_keep)


@contextlib.contextmanager
def quiet_diffusers() -> Iterator[None]:
    """Drop what diffusers says of configs and files that it loads while the block runs.

    bench holds a config against its own tables and names what is wrong itself. Errors are raised
    as ever.
    """
    with quiet_messages(), warnings.catch_warnings():
        from diffusers.utils import logging as diffusers_logging

        warnings.simplefilter("ignore", FutureWarning)
        kept = diffusers_logging.get_verbosity()
        diffusers_logging.set_verbosity(logging.CRITICAL + 1)
        try:
            yield
        finally:
            diffusers_logging.set_verbosity(kept)


@contextlib.contextmanager
def quiet_transformers() -> Iterator[None]:
    """Drop bars and remarks of transformers while text encoders are loaded and called: lengths of
    prompts are cut as the pipeline asks. Errors are raised as ever."""
    with quiet_import():
        from transformers.utils import logging as its_logging
    kept, had_bar = its_logging.get_verbosity(), its_logging.is_progress_bar_enabled()
    its_logging.set_verbosity_error()
    its_logging.disable_progress_bar()
    try:
        yield
    finally:
        its_logging.set_verbosity(kept)
        if had_bar:
            its_logging.enable_progress_bar()


@contextlib.contextmanager
def quiet_compiler() -> Iterator[None]:
    """Drop what inductor says of itself when it reads the zero points of integer layers."""
    with quiet_messages(), warnings.catch_warnings():
        warnings.filterwarnings("ignore", "To copy construct from a tensor", UserWarning)
        yield


@contextlib.contextmanager
def quiet_tracing() -> Iterator[None]:
    """Drop what is printed while a network is traced: torch.export prints the graph as far as it
    came, for every attempt. Errors are raised as ever."""
    printed = io.StringIO()
    with (
        quiet_messages(),
        contextlib.redirect_stdout(printed),
        contextlib.redirect_stderr(printed),
    ):
        yield


@contextlib.contextmanager
def quiet_profiler() -> Iterator[None]:
    """Drop what is written to the process's stderr while the block runs.

    torch's profiler logs its starts and stops, and missing GPUs, from C++. Errors are raised as
    ever.
    """
    with _nowhere(sys.stderr, 2):
        yield


@contextlib.contextmanager
def quiet_solver() -> Iterator[None]:
    """Drop what is written to the process's stdout while the block runs.

    HiGHS of scipy 1.17 has forgotten a line of its developers there, now and then, whatever it is
    told of printing. Errors are raised as ever.
    """
    with _nowhere(sys.stdout, 1):
        try:
            yield
        finally:
            # Lines of C wait in a buffer where stdout is no terminal.
            ctypes.CDLL(None).fflush(None)


@contextlib.contextmanager
def _nowhere(stream: TextIO, descriptor: int) -> Iterator[None]:
    """Drop what is written to a stream, by C code too."""
    stream.flush()
    kept = os.dup(descriptor)
    with open(os.devnull, "w") as nowhere:
        os.dup2(nowhere.fileno(), descriptor)
    try:
        yield
    finally:
        os.dup2(kept, descriptor)
        os.close(kept)
