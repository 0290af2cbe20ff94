"""LSUN tower (Yu et al. 2015): 708,264 + 300 photographs, here 64x64 pixels.

https://github.com/fyu/lsun publishes each split as a zip of an LMDB folder (`data.mdb`); the keys
are hexadecimal names, the values JPEG or WebP files whose shorter side is 256 pixels. Images come
in the order of the keys, which is LMDB's own. Train is `tower_train_lmdb`, test is
`tower_val_lmdb`. They are cropped and resized as in `bench.measurement.data.images`.
"""

from __future__ import annotations

import hashlib
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from torch import Tensor

from bench.core.errors import InputError
from bench.measurement.data import images, places

NAME = "lsun-tower"
SIZE = 64
# Bytes of the two pages with which a database begins.
HEAD = 8192
# Walks a database, or its ends, and touches each value; WRONG is its end where one is too long.
WRONG = 9
_WALK = f"""
import os, sys
sys.path.append(sys.argv[1])
import lmdb
size = os.stat(os.path.join(sys.argv[2], "data.mdb")).st_size
options = dict(readonly=True, lock=False, create=False, readahead=False)
with lmdb.open(sys.argv[2], **options) as database, database.begin(buffers=True) as transaction:
    cursor = transaction.cursor()
    ends = (move() and cursor.item() for move in (cursor.first, cursor.last))
    for _, value in cursor if sys.argv[3] == "all" else filter(None, ends):
        if len(value) > size:
            os._exit({WRONG})
        bytes(value[:1]), bytes(value[-1:])
"""
FOLDERS = {"train": "tower_train_lmdb", "test": "tower_val_lmdb"}


def load(split: str) -> Tensor:
    """Load the images of a split in the order of their keys, uint8 (N, 3, 64, 64).

    Raises:
        InputError: unknown split, missing files or package, a damaged database or image.
    """
    places.check_split(split)
    folder = FOLDERS[split]
    path = places.find(NAME, (f"{folder}/data.mdb",))
    if path is None:
        if zipped := places.find(NAME, (f"{folder}.zip",)):
            raise InputError(f"{zipped}: unzip it there, LMDB cannot be read inside a zip")
        raise places.missing(NAME, f"the folder {folder} with its data.mdb")
    return images.load(collection(path.parent), SIZE, channels=3)


def collection(folder: Path) -> images.Collection:
    """The values of an LMDB folder in the order of the keys.

    The database has tens of gigabytes, so the content key holds its size, the number of entries
    and the first and last of them.

    Raises:
        InputError: the package lmdb is missing, or the database is empty or damaged.
    """
    lmdb = _lmdb()
    try:
        _open(folder).close()
        _try(folder, "ends")
        with _open(folder) as database, database.begin() as transaction:
            count = database.stat()["entries"]
            cursor = transaction.cursor()
            size = (folder / "data.mdb").stat().st_size
            digest = hashlib.sha256(f"{count} {size} ".encode())
            for move in (cursor.first, cursor.last):
                if not move():
                    raise InputError(f"{folder}: the database is empty")
                for part in cursor.item():
                    digest.update(hashlib.sha256(part).digest())
    except lmdb.Error as error:
        raise InputError(f"{folder}: not a readable LMDB folder ({error})") from None
    return images.Collection(folder, count, digest.hexdigest(), lambda: _values(folder))


def _lmdb() -> Any:
    try:
        import lmdb
    except ImportError:
        raise InputError(
            f"{NAME} needs the package lmdb: pip install 'diffusion-quant-bench[lsun]'"
        ) from None
    return lmdb


def _open(folder: Path) -> Any:
    """Open a database for reading, without a lock file: the folder may be read-only."""
    data = folder / "data.mdb"
    # Two pages of it are read before anything is known of it.
    if data.is_file() and data.stat().st_size < HEAD:
        raise InputError(f"{folder}: data.mdb is truncated, less than {HEAD} bytes")
    database = _lmdb().open(str(folder), readonly=True, lock=False, create=False, readahead=False)
    # The file is memory-mapped: reading beyond its end would kill the process (bus error).
    end = (database.info()["last_pgno"] + 1) * database.stat()["psize"]
    if data.stat().st_size < end:
        database.close()
        raise InputError(f"{folder}: data.mdb is truncated, less than {end} bytes")
    return database


def _try(folder: Path, which: str) -> None:
    """Read a database in a process of its own first: it is mapped, and a damaged length or page
    ends the process that follows it.

    Raises:
        InputError: it does.
    """
    library = Path(_lmdb().__file__).parents[1]
    words = [sys.executable, "-I", "-c", _WALK, str(library), str(folder.absolute()), which]
    code = subprocess.run(words, stdin=subprocess.DEVNULL, capture_output=True).returncode
    # Errors of the library itself are told by who reads it next.
    if code == WRONG or code < 0:
        raise InputError(f"{folder}: data.mdb is damaged: fetch or unzip it again")


def _values(folder: Path) -> Iterator[tuple[str, bytes]]:
    lmdb = _lmdb()
    _try(folder, "all")
    try:
        with _open(folder) as database, database.begin() as transaction:
            for key, value in transaction.cursor():
                yield key.decode("ascii", "backslashreplace"), value
    except lmdb.Error as error:
        raise InputError(f"{folder}: not a readable LMDB folder ({error})") from None
