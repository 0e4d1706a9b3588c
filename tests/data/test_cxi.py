"""CXI files of other programs: units, signs, masks, links, and what is refused."""

import h5py
import numpy as np
import pytest

from ptycho_torch.config.scan import ScanConventions
from ptycho_torch.data.geometry import MADE_UP
from ptycho_torch.data.read import read_scan
from ptycho_torch.data.write import write_scan_cxi
from ptycho_torch.runtime.errors import InputError

DETECTOR, SOURCE = "entry_1/instrument_1/detector_1", "entry_1/instrument_1/source_1"
TRANSLATION = "entry_1/sample_1/geometry_1/translation"
N = 16
PIXEL = MADE_UP.object_pixel_m(N)[0]


@pytest.fixture
def file(tmp_path, scan):
    write_scan_cxi(tmp_path / "scan.cxi", scan)
    with h5py.File(tmp_path / "scan.cxi", "a") as handle:
        del handle["entry_1/ptycho_torch"]
    return tmp_path / "scan.cxi"


def put(file, path, value):
    with h5py.File(file, "a") as handle:
        if path in handle:
            attributes = dict(handle[path].attrs)
            del handle[path]
            handle[path] = value
            handle[path].attrs.update(attributes)
        else:
            handle[path] = value


def remove(file, *paths):
    with h5py.File(file, "a") as handle:
        for path in paths:
            del handle[path]


def get(file, path):
    with h5py.File(file) as handle:
        return handle[path][()]


def same_positions(file, scan, reading=ScanConventions()):  # noqa: B008
    found = read_scan(file, reading)
    np.testing.assert_allclose(found.positions_n2, scan.positions_n2, atol=1e-9)
    return found


def test_geometry_follows_from_energy_basis_and_corner(file, scan):
    remove(file, f"{SOURCE}/wavelength", f"{DETECTOR}/distance")
    remove(file, f"{DETECTOR}/x_pixel_size", f"{DETECTOR}/y_pixel_size")
    put(file, f"{DETECTOR}/basis_vectors", get(file, f"{DETECTOR}/basis_vectors").T)
    assert "wavelength from the photon energy" in same_positions(file, scan).notes


def test_a_detector_that_looks_the_other_way_moves_the_other_way(file, scan):
    put(file, f"{DETECTOR}/basis_vectors", -get(file, f"{DETECTOR}/basis_vectors"))
    put(file, TRANSLATION, -get(file, TRANSLATION))
    found = same_positions(file, scan)
    assert any("rows run along" in note for note in found.notes)


def test_the_sign_is_an_option_and_always_said(file, scan):
    found = same_positions(file, scan)
    assert any("+translation (y, x); the other sign fits" in note for note in found.notes)
    put(file, TRANSLATION, -get(file, TRANSLATION))
    found = same_positions(file, scan, ScanConventions(translation_sign=-1))
    assert any("-translation (y, x)" in note for note in found.notes)


@pytest.mark.parametrize("transposed", [False, True])
@pytest.mark.parametrize("unit", ["pixels", "um", None])
def test_translations_in_other_units(file, scan, unit, transposed):
    metres = get(file, TRANSLATION)
    factor = {"pixels": 1 / PIXEL, "um": 1e6, None: 1 / PIXEL}[unit]
    moved = metres * factor
    put(file, TRANSLATION, moved.T if transposed else moved)
    with h5py.File(file, "a") as handle:
        del handle[TRANSLATION].attrs["units"]
        if unit:
            handle[TRANSLATION].attrs["units"] = unit
    found = same_positions(file, scan)
    if unit is None:
        assert any("span more than a metre: taken as pixels" in note for note in found.notes)


def test_the_mask_is_honoured_bit_by_bit(file, scan):
    mask = np.zeros((N, N), np.uint32)
    mask[1, 2], mask[3, 4], mask[5, 6], mask[7, 8] = 0x2, 0x200, 0x1000, 0x20
    put(file, f"{DETECTOR}/mask", mask)
    frames = get(file, f"{DETECTOR}/data")
    frames[:, 1, 2] = -1
    put(file, f"{DETECTOR}/data", frames)
    found = read_scan(file)
    assert np.argwhere(~found.good_1HW).tolist() == [[0, 1, 2], [0, 3, 4]]


def test_without_probe_or_object_the_rest_is_read(file, scan):
    remove(file, f"{SOURCE}/illumination", "entry_1/image_1", "entry_1/image_2")
    found = read_scan(file)
    assert found.probe_MHW is None and found.object_YX is None
    apart = found.positions_n2 - scan.positions_n2
    np.testing.assert_allclose(apart, np.broadcast_to(np.round(apart[0]), apart.shape), atol=1e-9)


def test_a_picture_in_image_1_is_no_probe(file):
    remove(file, f"{SOURCE}/illumination")
    put(file, "entry_1/image_1/data", np.ones((N, N)))
    found = read_scan(file)
    assert found.probe_MHW is None
    assert any("image_1 is no probe" in note for note in found.notes)


@pytest.mark.parametrize(
    ("gone", "named"),
    [
        (("wavelength", "energy"), f"no /{SOURCE}/wavelength or energy"),
        (("distance", "corner_position"), f"no /{DETECTOR}/distance"),
        (("x_pixel_size", "basis_vectors"), f"no /{DETECTOR}/x_pixel_size"),
    ],
)
def test_what_is_missing_for_pixels_is_named_and_can_be_given(file, scan, gone, named):
    place = SOURCE if "energy" in gone else DETECTOR
    remove(file, *(f"{place}/{name}" for name in gone))
    with pytest.raises(InputError, match=f"cannot be converted .* {named}.*give --pixel-m"):
        read_scan(file)
    same_positions(file, scan, ScanConventions(pixel_m=PIXEL))


@pytest.mark.parametrize("distance", [0.001, 0.01])
def test_near_field_geometry_is_refused_with_its_numbers(file, distance):
    steps = get(file, TRANSLATION) * 10
    put(file, TRANSLATION, steps)
    put(file, f"{DETECTOR}/distance", distance)
    reason = "detector is wider than its distance" if distance < 0.0012 else "Fresnel number"
    with pytest.raises(
        InputError, match=rf"near-field geometry \(distance {distance:g} m, .*{reason}"
    ):
        read_scan(file)


def drop(handle, *paths):
    for path in paths:
        del handle[path]


BAD = {
    "units 'furlongs', which are not known": lambda h: h[TRANSLATION].attrs.update(units="furlongs"),
    "has no frames": lambda h: drop(h, f"{DETECTOR}/data", "entry_1/data_1/data"),
    "has no positions": lambda h: drop(
        h, TRANSLATION, f"{DETECTOR}/translation", "entry_1/data_1/translation"
    ),
    "expected real .n, 3. or .n, 2.": lambda h: (
        h.pop(TRANSLATION), h.__setitem__(TRANSLATION, np.ones((5, 7)))
    ),
    "'positions' is .4, 2.": lambda h: (
        h.pop(TRANSLATION), h.__setitem__(TRANSLATION, np.eye(4, 3) * 1e-8)
    ),
    "the position of frame 2 is not finite": lambda h: h[TRANSLATION].__setitem__((2, 0), np.nan),
    "energy is 8000 J, which no photon has": lambda h: (
        h.pop(f"{SOURCE}/wavelength"), h[f"{SOURCE}/energy"].__setitem__((), 8000.0)
    ),
    "distance is 0, expected a length > 0": lambda h: h[f"{DETECTOR}/distance"].__setitem__((), 0),
    "expected one finite number": lambda h: h[f"{DETECTOR}/distance"].__setitem__((), np.nan),
    "not two directions": lambda h: h[f"{DETECTOR}/basis_vectors"].__setitem__(0, 0),
    "mask is .16, 16. float64, expected whole numbers": lambda h: h.__setitem__(
        f"{DETECTOR}/mask", np.full((N, N), 0.5)
    ),
}  # fmt: skip


@pytest.mark.parametrize("reason", BAD)
def test_bad_cxi_is_refused_in_one_line(file, reason):
    with h5py.File(file, "a") as handle:
        BAD[reason](handle)
    with pytest.raises(InputError, match=reason) as error:
        read_scan(file)
    assert str(error.value).startswith(str(file))
    assert "\n" not in str(error.value)
