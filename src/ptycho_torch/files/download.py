"""A file of known checksum, from the folder in PTYCHO_DATA or its address: right, or not there."""

import logging
import os
import shutil
from pathlib import Path
from typing import Literal

from ptycho_torch.files.io import must_have
from ptycho_torch.runtime.disk import atomic_write
from ptycho_torch.runtime.errors import InputError

logger = logging.getLogger(__name__)

FOLDER = "PTYCHO_DATA"
"""Environment variable: a folder with files that need not be downloaded."""
_TIMEOUT_S = 30.0


def fetch(
    path: str | Path, *, address: str, file: str, sha256: str
) -> Literal["folder", "download"]:
    """Put a file at `path`, from the folder in PTYCHO_DATA where it is called `file`, or else from
    its address; return which.

    `sha256` holds wherever it comes from. Raises `InputError` if it can be had from neither, or has
    another checksum; nothing is left behind.
    """
    folder = os.environ.get(FOLDER)
    if folder and not Path(folder).is_dir():
        raise InputError(f"{FOLDER}={folder}: is no folder; name the one that holds {file}")
    if folder and (near := Path(folder) / file).exists():
        must_have(near, sha256)
        with atomic_write(path) as part:
            shutil.copyfile(near, part)
        logger.info("%s: taken from the folder in %s, SHA-256 as expected", near, FOLDER)
        return "folder"

    import pooch  # Slow to import.

    downloader = pooch.HTTPDownloader(timeout=_TIMEOUT_S)
    place = {"fname": Path(path).name, "path": Path(path).parent}
    try:
        pooch.retrieve(address, f"sha256:{sha256}", downloader=downloader, **place)
    # Every error of the network is an OSError; another checksum is a ValueError.
    except (OSError, ValueError) as error:
        raise InputError(
            f"{address}: cannot be downloaded: {error}; get the file in another way, put it as "
            f"'{file}' into a folder and name that in the environment variable {FOLDER}"
        ) from None
    logger.info("%s: downloaded, SHA-256 as expected", address)
    return "download"
