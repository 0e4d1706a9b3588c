"""The part of `io` that fetches a file by address and checksum: whole and right, or not at all."""

import hashlib
import http.client
import logging
import os
import urllib.error
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import BinaryIO, Literal

from ptycho_torch.files.io import atomic_write
from ptycho_torch.runtime.errors import InputError

logger = logging.getLogger(__name__)

FOLDER = "PTYCHO_DATA"
"""Environment variable: a folder with files that need not be downloaded."""
_BLOCK = 2**20
_TIMEOUT_S = 30.0


def fetch(
    path: str | Path, *, address: str, file: str, sha256: str, max_bytes: int
) -> Literal["folder", "download"]:
    """Put a file in place: from the folder in PTYCHO_DATA if it is there, else from its address.

    Parameters
    ----------
    path
        Where it goes.
    address
        Where it is downloaded.
    file
        Its name in the folder.
    sha256
        Checksum that it must have, wherever it comes from.
    max_bytes
        Where a download is broken off.

    Returns
    -------
    str
        Where it came from.

    Raises
    ------
    InputError
        If it can be had from neither, is larger, or has another checksum; nothing is left behind.
    """
    folder = os.environ.get(FOLDER)
    if folder and not Path(folder).is_dir():
        raise InputError(f"{FOLDER}={folder}: is no folder; name the one that holds {file}")
    if folder and (near := Path(folder) / file).exists():
        with _opened(near) as stream:
            _take(stream, path, source=str(near), sha256=sha256, max_bytes=max_bytes)
        logger.info("%s: taken from the folder in %s, SHA-256 as expected", near, FOLDER)
        return "folder"
    if folder:
        logger.info("%s: the folder in %s has no %s; it is downloaded", folder, FOLDER, file)
    with _answer(address, file) as stream:
        _take(stream, path, source=address, sha256=sha256, max_bytes=max_bytes)
    logger.info("%s: downloaded, SHA-256 as expected", address)
    return "download"


@contextmanager
def _opened(path: Path) -> Iterator[BinaryIO]:
    try:
        with path.open("rb") as stream:
            yield stream
    except OSError as error:
        raise InputError(f"{path}: cannot be read: {error.strerror}") from None


@contextmanager
def _answer(address: str, file: str) -> Iterator[BinaryIO]:
    """Yield what an address answers; every failure of the network is one line with the cure."""
    try:
        with urllib.request.urlopen(address, timeout=_TIMEOUT_S) as answer:
            yield answer
    except (OSError, http.client.HTTPException, ValueError) as error:
        if isinstance(error, InputError):
            raise
        reason = error.reason if isinstance(error, urllib.error.URLError) else error
        code = f"{error.code} " if isinstance(error, urllib.error.HTTPError) else ""
        raise InputError(
            f"{address}: cannot be downloaded: {code}{reason}; get the file in another way, put it "
            f"as '{file}' into a folder and name that in the environment variable {FOLDER}"
        ) from None


def _take(stream: BinaryIO, path: str | Path, *, source: str, sha256: str, max_bytes: int) -> None:
    """Copy a stream into place if it has the checksum."""
    digest, size = hashlib.sha256(), 0
    with atomic_write(path) as part:
        with part.open("wb") as handle:
            while block := stream.read(_BLOCK):
                size += len(block)
                if size > max_bytes:
                    raise InputError(f"{source}: is larger than {max_bytes} bytes (max_bytes)")
                digest.update(block)
                handle.write(block)
        if digest.hexdigest() != sha256:
            raise InputError(
                f"{source}: SHA-256 of {size} bytes is {digest.hexdigest()}, expected {sha256}; "
                "the file is truncated, or another one"
            )
