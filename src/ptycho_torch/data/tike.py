"""The layout `data`, `scan`, `probe` of the library tike's test data, as NPZ.

`data` (n, N, N) counts with the zero frequency in the corner; `scan` (n, 2) corners (row, column)
of the windows in pixels of the object plane; `probe` (1, 1, 1, M, N, N), a guess.
"""

import numpy as np

from ptycho_torch.data.raw import Array, Raw, object_plane, probe_modes, real_frames
from ptycho_torch.runtime.errors import InputError

KEYS = ("data", "scan", "probe", "psi")


def read_tike(source: str, arrays: dict[str, Array]) -> Raw:
    """Return the scan; the axis of angles may be there if it has length one.

    Raises
    ------
    InputError
        If an array is missing, or has a shape of another layout.
    """
    data, scan = arrays["data"], arrays["scan"]
    if scan.dtype.kind not in "fiu" or scan.ndim < 2 or scan.shape[-1] != 2:
        raise InputError(
            f"{source}: 'scan' is {scan.shape} {scan.dtype}, expected (n, 2) (row, column)"
        )
    probe, thing = arrays.get("probe"), arrays.get("psi")
    frames = real_frames(source, "data", data[0] if data.ndim == 4 and len(data) == 1 else data)
    return Raw(
        source=source,
        layout="tike",
        frames_nHW=frames,
        positions_n2=scan.reshape(-1, 2).astype(np.float64),
        probe_MHW=None if probe is None else probe_modes(source, "probe", probe),
        object_YX=None if thing is None else object_plane(source, "psi", thing),
        values="intensity",
        zero_frequency="corner",
        origin="corner",
        notes=("layout of tike: data, scan, probe",),
    )
