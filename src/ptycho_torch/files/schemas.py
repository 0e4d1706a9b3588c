"""What results must hold where another stage reads them: checked before anything is made of them.

Keys that nobody reads here are no fault. docs/reference/files.md has the layouts.
"""

from typing import Any, Literal

from ptycho_torch.files.io import PathLike, read_json
from ptycho_torch.runtime.errors import InputError

Kind = Literal["dataset", "tiles", "run", "scores", "timing", "rPIE scores", "rPIE", "findings"]

KEYS: dict[Kind, str] = {
    "dataset": "patch_px splits.train.sha256 splits.validation.sha256 splits.test.sha256",
    "tiles": "test_step_px",
    "run": "dataset arm seed settings outcome failure dataset_sha256 epochs steps val_loss_name "
    "best_epoch best_val_loss last_val_loss best_mae_val_loss first_loss parameters.stored "
    "parameters.full gradient_norm clipped_share loss_spikes versions",
    "scores": "dataset arm seed outcome failure reason twin best last constant truth undefined",
    "timing": "wall_s inference_s samples_per_s peak_memory_mib device threads commit platform",
    "rPIE scores": "best undefined outcome",
    "rPIE": "scored settings dataset_sha256 r_factor device threads iterations",
    "findings": "name title question answer dataset arms baselines undefined",
}
"""The keys that each kind of result must have, those of blocks with dots."""


def read_result(path: PathLike, kind: Kind) -> dict[str, Any]:
    """Return a JSON result as it is, once it is known to hold what its readers need.

    Raises `InputError` if it cannot be read or lacks a key; names file and key.
    """
    data = read_json(path)
    for key in KEYS[kind].split():
        block: Any = data
        for name in key.split("."):
            if not isinstance(block, dict) or name not in block:
                raise InputError(f"{path}: lacks '{key}'; another version wrote it, make it again")
            block = block[name]
    return data
