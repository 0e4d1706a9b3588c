"""Geometry of a CXI file: lengths in metres whatever their unit, told once or twice alike."""

import numpy as np
from numpy.typing import NDArray
from scipy import constants

from ptycho_torch.config.scan import ScanConventions
from ptycho_torch.data.geometry import ENERGIES, EV, LENGTHS, PLANCK_TIMES_C, Geometry
from ptycho_torch.data.scan import check_array, without_ones
from ptycho_torch.files.hdf5 import Hdf5
from ptycho_torch.runtime.errors import InputError

DETECTOR, SOURCE = "/entry_1/instrument_1/detector_1", "/entry_1/instrument_1/source_1"
_USUAL_AXES = np.array([[0.0, -1.0, 0.0], [-1.0, 0.0, 0.0]])
# More than any photon has; CXI is in joules, and people write electronvolts.
_MOST_ENERGY_J = 1e-9
# Wavelength and energy, distance and corner are rounded where they are written.
_AGREE = 0.01


def geometry_of(
    file: Hdf5, reading: ScanConventions, notes: list[str]
) -> tuple[Geometry | None, str]:
    """Return wavelength, distance and pixels of the detector, or None and what is missing."""
    distance = file.number(f"{DETECTOR}/distance", LENGTHS, notes)
    corner, basis = _vector(file, "corner_position"), _basis(file)
    if corner is not None and corner.size > 2:
        normal = np.array([0, 0, 1]) if basis is None else np.cross(*basis)
        apart = abs(corner.reshape(-1, 3)[0] @ normal) / (np.linalg.norm(normal) or 1)
        distance = _agreed(file, reading, "distance", distance, "corner_position", float(apart))
    sides = [file.number(f"{DETECTOR}/{axis}_pixel_size", LENGTHS, notes) for axis in "yx"]
    # Some write directions, of length one.
    if basis is not None and not np.allclose(pitch := np.linalg.norm(basis, axis=1), 1):
        sides = [
            _agreed(file, reading, f"{axis}_pixel_size", side, "basis_vectors", float(told))
            for axis, side, told in zip("yx", sides, pitch, strict=True)
        ]
    height, width = sides
    wavelength = _wavelength(file, reading, notes)
    # CXI's z points downstream, so that some write the distance as negative.
    distance = None if distance is None else abs(distance)
    # And what each can be in an experiment, metres: a number beyond is in another unit.
    lengths = (
        (f"{SOURCE}/wavelength or energy", wavelength, 1e-13, 1e-3),
        (f"{DETECTOR}/distance", distance, 1e-6, 1e2),
        (f"{DETECTOR}/y_pixel_size", height, 1e-8, 1e-2),
        (f"{DETECTOR}/x_pixel_size", width, 1e-8, 1e-2),
    )
    for name, value, low, high in lengths:
        if value is not None and not 0 < value < np.inf:
            raise InputError(f"{file.source}: {name} is {value:g}, expected a length > 0 in metres")
        if value is not None and not low <= value <= high and reading.pixel_m is None:
            raise InputError(
                f"{file.source}: {name} is {value:g} m, which no such experiment has; is it in "
                "another unit? give it the attribute 'units', or give --pixel-m"
            )
    if wavelength is None or distance is None or height is None or width is None:
        missing = ", no ".join(name for name, value, *_ in lengths if value is None)
        return None, f"the file has no {missing}"
    notes.append(
        f"geometry: wavelength {wavelength:.6g} m, distance {distance:.6g} m, detector pixel "
        f"{height:.6g} x {width:.6g} m"
    )
    return Geometry(wavelength_m=wavelength, distance_m=distance, pixel_m=(height, width)), ""


def _wavelength(file: Hdf5, reading: ScanConventions, notes: list[str]) -> float | None:
    """Return the wavelength in metres, which the photon energy must agree with, or gives."""
    wavelength = file.number(f"{SOURCE}/wavelength", LENGTHS, notes)
    energy = file.number(f"{SOURCE}/energy", ENERGIES, notes)
    if energy is not None and not 0 < energy < _MOST_ENERGY_J:
        if wavelength is None:
            raise InputError(
                f"{file.source}: {file.where(SOURCE)}/energy is {energy:g} J, which no photon has; "
                "CXI is in joules (1 eV = 1.602e-19 J): mend it, give it the attribute units, or "
                "add the wavelength"
            )
        notes.append(f"energy of {energy:g} J, which no photon has, is not used")
        energy = None
    if energy is not None:
        told = PLANCK_TIMES_C / energy
        if wavelength is None:
            notes.append("wavelength from the photon energy")
            return told
        at_rest = constants.m_e * constants.c**2
        of_electrons = PLANCK_TIMES_C / (energy * (energy + 2 * at_rest)) ** 0.5
        if abs(of_electrons / wavelength - 1) <= _AGREE:
            notes.append(f"energy of {energy / EV:.6g} eV and wavelength are those of electrons")
        elif abs(told / wavelength - 1) > _AGREE and reading.pixel_m is None:
            raise InputError(
                f"{file.source}: {file.where(SOURCE)}: the energy of {energy / EV:.6g} eV is a "
                f"wavelength of {told:.6g} m, and 'wavelength' is {wavelength:.6g} m; mend the one "
                "that is wrong, or give --pixel-m"
            )
    return wavelength


def _agreed(
    file: Hdf5, reading: ScanConventions, name: str, value: float | None, other: str, told: float
) -> float | None:
    """Return one of the detector's lengths; where it has none, what the other array makes it.
    `InputError` if the two differ."""
    if value is None:
        return told
    differ = value and told > 0 and abs(told / abs(value) - 1) > _AGREE
    if differ and reading.pixel_m is None:
        raise InputError(
            f"{file.source}: {file.where(DETECTOR)}/{name} is {value:.6g} m, and {other} makes it "
            f"{told:.6g} m; mend the one that is wrong, or give --pixel-m"
        )
    return value


def axes_of(file: Hdf5, notes: list[str]) -> NDArray[np.float64]:
    """Return unit vectors (x, y, z) of rows and columns of the detector, (2, 3)."""
    basis = _basis(file)
    if basis is None:
        return _USUAL_AXES
    lengths = np.linalg.norm(basis, axis=1, keepdims=True)
    if not (lengths > 0).all() or not np.isfinite(basis).all():
        raise InputError(
            f"{file.source}: {DETECTOR}/basis_vectors is {basis.tolist()}: not two directions"
        )
    axes: NDArray[np.float64] = basis / lengths
    if not np.allclose(axes, _USUAL_AXES, atol=1e-6):
        rows, columns = axes.round(6)
        notes.append(f"rows run along {rows}, columns along {columns} (x, y, z)")
    return axes


def _basis(file: Hdf5) -> NDArray[np.float64] | None:
    """Return the basis vectors as (2, 3); cdtools writes them transposed."""
    where, found = f"{DETECTOR}/basis_vectors", _vector(file, "basis_vectors")
    if found is None:
        return None
    found = without_ones(found, 2)
    check_array(file.source, where, found, "real", (2, 3), (3, 2))
    return (found.T if found.shape == (3, 2) else found).astype(np.float64)


def _vector(file: Hdf5, name: str) -> NDArray[np.float64] | None:
    """Return one of the detector's arrays of lengths in metres."""
    where = f"{DETECTOR}/{name}"
    found, factor = file.array(where), file.factor(where, LENGTHS)
    if found is None:
        return None
    if found.dtype.kind not in "fiu" or (found.size % 3 and found.size != 2):
        raise InputError(
            f"{file.source}: {file.where(where)} is {found.shape} {found.dtype}, expected real "
            "numbers, three a corner or direction"
        )
    return found.astype(np.float64) * (factor or 1.0)
