"""Files of `torch.save`: their content with nothing executed, and refusals by name.

A file is read with `weights_only=True`, which rebuilds tensors and plain values. Settings that
trainings put beside the weights (argparse's, OmegaConf's, numbers of NumPy, paths) are read as
`Left`, an inert stand-in: their classes are neither imported nor called. What else a file calls is
refused by its name.
"""

from __future__ import annotations

import re
import warnings
import zipfile
from collections import Counter
from pathlib import Path
from typing import Any

import torch

from bench.core.errors import InputError
from bench.models.sources import unsupported

# Settings that stand beside weights in published checkpoints; none decides the network here.
SETTINGS = re.compile(
    r"argparse\.Namespace|types\.SimpleNamespace|pathlib\.\w+|pathlib\._local\.\w+"
    r"|numpy\.(_core|core)\.multiarray\.(scalar|_reconstruct)|numpy\.(dtype|ndarray)"
    r"|numpy\.dtypes\.\w+|numpy\.(_core|core)\.numeric\._frombuffer|_codecs\.encode"
    r"|omegaconf\.[\w.]+|collections\.defaultdict|collections\.deque|typing\.Any"
    r"|datetime\.\w+|uuid\.UUID|easydict\.EasyDict|addict\.(addict\.)?Dict|yacs\.config\.CfgNode"
    r"|ml_collections\.[\w.]+|enum\.\w+|fractions\.Fraction|decimal\.Decimal"
    r"|(__builtin__|builtins)\.(complex|set|frozenset|bytearray|slice|range|dict|list|int"
    r"|float|str|bool|tuple|bytes|type)"
)
# Those that are filled item by item after they were made, as torch's reader fills its own alone.
MAPPINGS = re.compile(
    r"collections\.defaultdict|easydict\.EasyDict|addict\.(addict\.)?Dict|yacs\.config\.CfgNode"
)
LISTS = re.compile(r"collections\.deque")
_GLOBAL = re.compile(r"GLOBAL ([\w.]+)")
# A file may name this many classes of settings.
MOST = 64
MAGIC = (b"\x80\x02", b"\x80\x03", b"\x80\x04", b"\x80\x05")


class Left:
    """Stands for a value of a class that is not rebuilt."""

    def __new__(cls, *arguments: Any) -> Left:
        """Take whatever the value was made of, and drop it."""
        return super().__new__(cls)

    def __init__(self, *arguments: Any) -> None: ...

    def __setstate__(self, state: Any) -> None: ...


class LeftMapping:
    """Makes what takes the items of a mapping, and a state."""

    def __new__(cls, *arguments: Any) -> Any:
        """A counter, the one mapping of torch's reader with attributes."""
        return Counter()


class LeftList:
    """Makes what takes the items of a list."""

    def __new__(cls, *arguments: Any) -> Any:
        """A list."""
        return []


def is_pickle(head: bytes) -> bool:
    """Whether a file begins as a plain pickle does."""
    return head[:2] in MAGIC


def read(path: Path) -> Any:
    """The content of a file of `torch.save`: tensors, plain values and `Left`.

    Raises:
        InputError: truncated, another archive, or it calls what no weights need.
    """
    _check_archive(path)
    known: list[Any] = []
    while True:
        try:
            with warnings.catch_warnings(), torch.serialization.safe_globals(known):
                warnings.simplefilter("ignore")
                return torch.load(path, map_location="cpu", weights_only=True)
        # The unpickler raises nearly every exception on damaged bytes.
        except Exception as error:
            text = " ".join(str(error).split())
            match = _GLOBAL.search(text)
            called = (
                match[1] if match else unsupported.first_call(path, {name for _, name in known})
            )
            new = _full(called) not in {name for _, name in known}
            if called and new and SETTINGS.fullmatch(_full(called)) and len(known) < MOST:
                known.append((_stand_in(called), _full(called)))
                continue
            raise InputError(_refusal(path, called, text)) from None


def _full(called: str) -> str:
    """torch leaves the module of built-in names out of its message."""
    return called if "." in called else f"builtins.{called}"


def _stand_in(called: str) -> type:
    kind = LeftMapping if MAPPINGS.fullmatch(called) else Left
    kind = LeftList if LISTS.fullmatch(called) else kind
    return type(called.rpartition(".")[2], (kind,), {"__module__": called.rpartition(".")[0]})


def _refusal(path: Path, called: str, text: str) -> str:
    if called and unsupported.pickled(called):
        return (
            f"{path} refused: a pickle of EDM or its kin, which carries source code and executes "
            f"it; {unsupported.EXPORT}"
        )
    if "TorchScript" in text:
        return f"{path} refused: it is a TorchScript program; save the state dict alone"
    if called:
        return (
            f"{path} refused: its pickle calls {called}, which weights do not need; where you "
            f"trust the file, save the state dict alone: x = torch.load(PATH, "
            f"weights_only=False), then torch.save(x.state_dict(), 'weights.pt') where x is a "
            f"whole network, torch.save(x[KEY], 'weights.pt') where it is a dictionary"
        )
    return f"{path} is no whole file of torch.save ({text.split('. ')[0][:120]}): fetch it again"


def _check_archive(path: Path) -> None:
    """Refuse archives that are none of torch's, or that grow when they are unpacked.

    torch writes its archives without compression.
    """
    try:
        with zipfile.ZipFile(path) as archive:
            entries = archive.infolist()
    # No archive, or a damaged one, of which torch's reader tells more.
    except (OSError, ValueError, zipfile.BadZipFile, NotImplementedError):
        return
    names = [entry.filename for entry in entries]
    if names and all(name.endswith(".npy") for name in names):
        raise InputError(
            f"{path} is an archive of NumPy's arrays: save them as safetensors, names to tensors"
        )
    if not any(name.endswith("data.pkl") for name in names):
        first = ", ".join(names[:3])
        raise InputError(f"{path} is an archive of {first}, not a file of torch.save: unpack it")
    packed = [e for e in entries if e.compress_type != zipfile.ZIP_STORED]
    # Programs of TorchScript have their code compressed; torch's reader names them.
    if any("/code/" not in entry.filename for entry in packed):
        raise InputError(
            f"{path} was compressed after torch.save wrote it: save the state dict again"
        )
