"""One layout into another, and a look at what was written."""

import os
from pathlib import Path

import numpy as np

from ptycho_torch.config.scan import ScanConventions
from ptycho_torch.data.geometry import Geometry
from ptycho_torch.data.predict import agreement
from ptycho_torch.data.read import read_scan
from ptycho_torch.data.scan import Scan
from ptycho_torch.data.write import write_scan
from ptycho_torch.runtime.errors import InputError

# Positions in metres are divided and multiplied by a pixel's side: rounding, in pixels.
_SAME_PX = 1e-6
# Amplitudes squared as float32 and rooted again.
_SAME_RELATIVE = 1e-6


def convert_scan(
    source: str | Path,
    target: str | Path,
    reading: ScanConventions,
    geometry: Geometry | None = None,
    *,
    overwrite: bool = False,
) -> list[str]:
    """Write a scan in the layout that the target's ending names; return what there is to say.

    overwrite: whether a file that is there already is replaced.

    Raises
    ------
    InputError
        If the source cannot be read, the target names no layout, is the source or is there already,
        or what was written is not what was read; no file is left then.
    """
    target = Path(target)
    if target.exists() and target.samefile(source):
        raise InputError(f"{target}: is the file that is read; write another one")
    if os.path.lexists(target) and not (overwrite and target.is_file()):
        cure = ", or --overwrite to replace it" if target.is_file() else ""
        raise InputError(f"{target}: is there already; write another one{cure}")
    scan = read_scan(source, reading)
    write_scan(target, scan, geometry)
    try:
        written = read_scan(target)
        _check_same(scan, written)
    except InputError:
        target.unlink(missing_ok=True)
        raise
    lines = [
        f"{source}: {scan.summary()}",
        *(f"  {note}" for note in scan.notes),
        f"{target}: written and read back, equal",
    ]
    if target.suffix != ".npz" and geometry is None:
        lines.append("  its geometry is made up, and marked so in /entry_1/ptycho_torch")
    if written.probe_MHW is not None and written.object_YX is not None:
        lines.append(f"  {agreement(written).sentence()}")
    else:
        lacks = "object" if written.object_YX is None else "probe"
        lines.append(f"  without {lacks}, so there is nothing to predict its patterns with")
    return lines


def _check_same(scan: Scan, written: Scan) -> None:
    """Refuse a file that is not what was written."""
    apart = float(np.abs(scan.positions_n2 - written.positions_n2).max())
    largest = float(scan.amplitude_nHW.max())
    other = float(np.abs(scan.amplitude_nHW - written.amplitude_nHW).max()) / largest
    if apart > _SAME_PX or other > _SAME_RELATIVE:
        raise InputError(
            f"{written.source}: read back, positions differ by {apart:.3g} px and amplitudes by "
            f"{other:.3g}; was it written over meanwhile?"
        )
