"""A file of known checksum, from the folder in PTYCHO_DATA or its address: right, or not there."""

import logging
import os
import shutil
from pathlib import Path
from typing import Any, Literal

from ptycho_torch.runtime.errors import InputError

logger = logging.getLogger(__name__)

FOLDER = "PTYCHO_DATA"
"""Environment variable: a folder with files that need not be downloaded."""


def fetch(
    path: str | Path, *, address: str, file: str, sha256: str
) -> Literal["folder", "download"]:
    """Put a file at `path`, from the folder in PTYCHO_DATA where it is called `file`, or else from
    its address; return which.

    `sha256` holds wherever it comes from. Raises `InputError` if it can be had from neither, or has
    another checksum; nothing is left behind.
    """
    import pooch  # Slow to import.

    near = Path(os.environ.get(FOLDER, ""), file)
    here = FOLDER in os.environ and near.exists()

    def copy(_address: str, output: str, _pooch: Any) -> None:
        shutil.copyfile(near, output)

    downloader = copy if here else pooch.HTTPDownloader(timeout=30)
    place = {"fname": Path(path).name, "path": Path(path).parent}
    try:
        pooch.retrieve(address, f"sha256:{sha256}", downloader=downloader, **place)
    # Every error of the network is an OSError; another checksum is a ValueError.
    except (OSError, ValueError) as error:
        raise InputError(
            f"{near if here else address}: is not to be had: {error}; get the file in another way, "
            f"put it as '{file}' into a folder and name that in the environment variable {FOLDER}"
        ) from None
    logger.info("%s: taken, SHA-256 as expected", near if here else address)
    return "folder" if here else "download"
