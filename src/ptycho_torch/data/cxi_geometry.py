"""What a CXI file says of wavelength, distance, pixels and directions of the detector."""

import numpy as np
from numpy.typing import NDArray

from ptycho_torch.data.geometry import PLANCK_TIMES_C, Geometry
from ptycho_torch.files.hdf5 import Hdf5
from ptycho_torch.runtime.errors import InputError

# More than any photon has; CXI is in joules, and people write electronvolts.
_MOST_ENERGY_J = 1e-9


def geometry_of(
    file: Hdf5, detector: str, source: str, notes: list[str]
) -> tuple[Geometry | None, str]:
    """Return the geometry, or None and what is missing.

    Raises
    ------
    InputError
        If a value that is there cannot be one.
    """
    wavelength = _wavelength(file, source, notes)
    distance = file.number(f"{detector}/distance")
    if distance is None:
        corner = file.array(f"{detector}/corner_position")
        distance = None if corner is None or corner.size < 3 else float(corner.reshape(-1)[2])
    height = file.number(f"{detector}/y_pixel_size")
    width = file.number(f"{detector}/x_pixel_size")
    if height is None or width is None:
        basis = _basis(file, detector)
        if basis is not None:
            height, width = (float(np.linalg.norm(vector)) for vector in basis)
    found = {
        f"{source}/wavelength or energy": wavelength,
        # CXI's z points downstream, so that some write the distance as negative.
        f"{detector}/distance": None if distance is None else abs(distance),
        f"{detector}/y_pixel_size": height,
        f"{detector}/x_pixel_size": width,
    }
    for name, value in found.items():
        if value is not None and not 0 < value < np.inf:
            raise InputError(f"{file.source}: {name} is {value:g}, expected a length > 0 in metres")
    missing = [name for name, value in found.items() if value is None]
    if wavelength is None or distance is None or height is None or width is None:
        return None, f"the file has no {', no '.join(missing)}"
    geometry = Geometry(wavelength_m=wavelength, distance_m=abs(distance), pixel_m=(height, width))
    notes.append(
        f"geometry: wavelength {wavelength:.6g} m, distance {abs(distance):.6g} m, detector pixel "
        f"{height:.6g} x {width:.6g} m"
    )
    return geometry, ""


def object_pixel_of(
    file: Hdf5, geometry: Geometry | None, side_px: int
) -> tuple[float, float] | None:
    """Return (height, width) of a pixel of the object plane, by the file or by its geometry."""
    told = [
        file.number(f"/entry_1/ptychodus/object_pixel_{side}_m") for side in ("height", "width")
    ]
    if told[0] and told[1]:
        return told[0], told[1]
    return None if geometry is None else geometry.object_pixel_m(side_px)


def axes_of(file: Hdf5, detector: str, notes: list[str]) -> NDArray[np.float64]:
    """Return unit vectors (x, y, z) of rows and columns of the detector, (2, 3)."""
    usual = np.array([[0.0, -1.0, 0.0], [-1.0, 0.0, 0.0]])
    basis = _basis(file, detector)
    if basis is None:
        return usual
    lengths = np.linalg.norm(basis, axis=1, keepdims=True)
    if not (lengths > 0).all() or not np.isfinite(basis).all():
        raise InputError(
            f"{file.source}: {detector}/basis_vectors is {basis.tolist()}: not two directions"
        )
    axes: NDArray[np.float64] = basis / lengths
    if not np.allclose(axes, usual, atol=1e-6):
        notes.append(
            f"rows run along {axes[0].round(6)}, columns along {axes[1].round(6)} (x, y, z)"
        )
    return axes


def _basis(file: Hdf5, detector: str) -> NDArray[np.float64] | None:
    """Return the basis vectors as (2, 3); cdtools writes them transposed."""
    found = file.array(f"{detector}/basis_vectors")
    if found is None:
        return None
    while found.ndim > 2 and len(found) == 1:
        found = found[0]
    if found.shape == (3, 2):
        found = found.T
    if found.shape != (2, 3) or found.dtype.kind not in "fiu":
        raise InputError(
            f"{file.source}: {detector}/basis_vectors is {found.shape}, expected (2, 3)"
        )
    return found.astype(np.float64)


def _wavelength(file: Hdf5, source: str, notes: list[str]) -> float | None:
    wavelength, energy = file.number(f"{source}/wavelength"), file.number(f"{source}/energy")
    if wavelength is not None:
        return wavelength
    if energy is None:
        return None
    if not 0 < energy < _MOST_ENERGY_J:
        raise InputError(
            f"{file.source}: {source}/energy is {energy:g} J, which no photon has; CXI is in "
            "joules (1 eV = 1.602e-19 J): mend it, or add the wavelength"
        )
    notes.append("wavelength from the photon energy")
    return PLANCK_TIMES_C / energy
