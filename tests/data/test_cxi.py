"""CXI files of other programs: units, signs, masks, links, and what is refused."""

import h5py
import numpy as np
import pytest
from tests.data.conftest import note, same
from tests.samples import object_pixel_m, write_cxi

from ptycho_torch.config.scan import ScanConventions
from ptycho_torch.data.read import read_scan
from ptycho_torch.runtime.errors import InputError

DETECTOR, SOURCE = "entry_1/instrument_1/detector_1", "entry_1/instrument_1/source_1"
TRANSLATION = "entry_1/sample_1/geometry_1/translation"
DATA, MASK, DISTANCE = f"{DETECTOR}/data", f"{DETECTOR}/mask", f"{DETECTOR}/distance"
BASIS, X_SIDE = f"{DETECTOR}/basis_vectors", f"{DETECTOR}/x_pixel_size"
WAVELENGTH, ENERGY = f"{SOURCE}/wavelength", f"{SOURCE}/energy"
PROBE, OBJECT = "entry_1/image_1/data", "entry_1/image_2/data"
EV = 1.602176634e-19
N = 16
PIXEL = object_pixel_m()


@pytest.fixture
def file(tmp_path, scan):
    write_cxi(tmp_path / "scan.cxi", scan)
    return tmp_path / "scan.cxi"


def put(file, path, value, **attributes):
    """Write an array in place of another one; None removes it."""
    with h5py.File(file, "a") as handle:
        handle.pop(path, None)
        if value is not None:
            handle[path] = value
            handle[path].attrs.update(attributes)


def get(file, path):
    with h5py.File(file) as handle:
        return handle[path][()]


def scale(file, path, factor, **attributes):
    put(file, path, get(file, path) * factor, **attributes)


def remove(file, *paths):
    for path in paths:
        put(file, path, None)


def same_positions(file, scan, **reading):
    found = read_scan(file, ScanConventions(**reading))
    np.testing.assert_allclose(found.positions_n2, scan.positions_n2, atol=1e-7)
    return found


def test_a_scan_is_read_whole_and_its_frames_are_intensities(file, scan):
    same(read_scan(file), scan)
    remove(file, WAVELENGTH)
    put(file, BASIS, get(file, BASIS).T)
    note(same_positions(file, scan), "wavelength from the photon energy")


def test_a_detector_that_looks_the_other_way_moves_the_other_way(file, scan):
    scale(file, TRANSLATION, -1)
    found = same_positions(file, scan, flip_rows=True, flip_columns=True)
    note(found, "along its opposite (--flip-rows --flip-columns) the frames fit as well")
    scale(file, BASIS, -1)
    note(same_positions(file, scan), "rows run along")


def test_translations_without_a_unit_are_metres_unless_that_cannot_be(file, scan):
    scale(file, TRANSLATION, 1e6)
    with pytest.raises(InputError, match="nothing in common.*its geometry fits --units um"):
        read_scan(file)
    same_positions(file, scan, units="um")
    scale(file, TRANSLATION, 1e-6 / PIXEL, units="pixels")
    same_positions(file, scan, units="pixels")


def test_the_mask_is_honoured_bit_by_bit(file):
    mask = np.zeros((N, N), np.uint32)
    mask[1, 2], mask[3, 4], mask[5, 6], mask[7, 8] = 0x2, 0x200, 0x1000, 0x20
    put(file, MASK, mask)
    with h5py.File(file, "a") as handle:
        handle[DATA][:, 1, 2] = -1
    assert np.argwhere(~read_scan(file).good_1HW).tolist() == [[0, 1, 2], [0, 3, 4]]


def test_without_probe_or_object_the_rest_is_read(file, scan):
    remove(file, f"{SOURCE}/illumination", OBJECT)
    put(file, PROBE, np.ones((N, N)))
    found = read_scan(file)
    note(found, "image_1 is no probe")
    assert found.probe_MHW is None and found.object_YX is None
    apart = found.positions_n2 - scan.positions_n2
    np.testing.assert_allclose(apart, np.broadcast_to(np.round(apart[0]), apart.shape), atol=1e-9)


@pytest.mark.parametrize(
    ("gone", "named"),
    [
        ((WAVELENGTH, ENERGY), f"no /{SOURCE}/wavelength or energy"),
        ((DISTANCE, X_SIDE), f"no /{DISTANCE}, no /{X_SIDE}"),
    ],
)
def test_what_is_missing_for_pixels_is_named_and_can_be_given(file, scan, gone, named):
    remove(file, *gone)
    with pytest.raises(InputError, match=f"cannot be converted .* {named}.*give --pixel-m"):
        read_scan(file)
    same_positions(file, scan, pixel_m=PIXEL)


@pytest.mark.parametrize(
    ("path", "worth", "attributes"),
    [
        (DISTANCE, 1e-3, {"units": "mm"}),
        (DISTANCE, 1e-2, {"unit": b"Centimetres"}),
        (WAVELENGTH, 1e-10, {"units": "\u212b"}),
        (WAVELENGTH, 1e-9, {"Units": "nanometers"}),
        (ENERGY, 1e3 * EV, {"units": np.bytes_(b"keV")}),
        (X_SIDE, 1e-6, {"units": np.bytes_(b"\xb5m")}),
        (TRANSLATION, 1e-9, {"units": ["nm", "nm", "nm"]}),
        (TRANSLATION, 1.0, {"units": h5py.Empty("S1")}),
    ],
)
def test_each_length_and_energy_is_read_in_its_unit(file, scan, path, worth, attributes):
    scale(file, path, 1 / worth, **attributes)
    same_positions(file, scan)
    if path in (WAVELENGTH, ENERGY):  # Beside the other one, and alone.
        remove(file, *{WAVELENGTH, ENERGY} - {path})
        same_positions(file, scan)


def test_an_energy_that_contradicts_the_wavelength_is_refused(file):
    for change in (3, 1.02 / 3):
        scale(file, ENERGY, change)
        with pytest.raises(InputError, match="is a wavelength of.*give --pixel-m"):
            read_scan(file)
        read_scan(file, ScanConventions(pixel_m=PIXEL))


@pytest.mark.parametrize("path", [WAVELENGTH, ENERGY, DISTANCE, X_SIDE, TRANSLATION])
def test_an_unknown_unit_is_refused(file, path):
    scale(file, path, 1, units="furlongs")
    with pytest.raises(InputError, match=f"{path}.*which are not known here; expected one of"):
        read_scan(file)


@pytest.mark.parametrize("path", [WAVELENGTH, ENERGY, DISTANCE])
def test_of_a_number_for_each_frame_the_median_is_taken(file, scan, path):
    value = get(file, path)
    put(file, path, value * (1 + np.linspace(-1e-4, 1e-4, len(scan) + 1)[:, None]))
    note(same_positions(file, scan), f"{path} varies by 0.0002 of its median")
    put(file, path, value * np.linspace(0.9, 1.1, len(scan)))
    with pytest.raises(InputError, match=f"{path} is .* to .*, expected one finite number"):
        read_scan(file)


def test_axes_of_one_are_dropped_wherever_they_are(file, scan):
    for turn in (lambda a: a[None], lambda a: a[:, None]):
        for path in (TRANSLATION, DATA):
            put(file, path, turn(get(file, path)))
    for path in (MASK, PROBE, OBJECT):
        put(file, path, get(file, path)[None])
    same(read_scan(file), scan)


@pytest.mark.parametrize(("first", "kind"), [("entry_1", "entry"), (DETECTOR, "detector")])
def test_one_of_several_is_chosen_by_the_option_and_said(file, scan, first, kind):
    with h5py.File(file, "a") as handle:
        second = first[:-1] + "2"
        handle.copy(first, second)
        handle[DATA.replace(first, second)][()] *= 4
    for index, factor in ((None, 1), (1, 1), (2, 2)):
        found = same_positions(file, scan, scan_index=index)
        np.testing.assert_allclose(found.amplitude_nHW, scan.amplitude_nHW * factor, 1e-5)
        assert f"{kind} {index or 1} is read, of 1, 2 (--scan-index)" in found.notes
    with pytest.raises(InputError, match=f"has no {kind} 7; it has: 1, 2; .*--scan-index"):
        read_scan(file, ScanConventions(scan_index=7))


def test_only_the_first_dark_field_of_the_chosen_detector_is_applied(file):
    with h5py.File(file, "a") as handle:
        handle.copy(DETECTOR, f"{DETECTOR[:-1]}2")
        for name, level in (("1/dark", 1e-3), ("1/data_dark", 2e-3), ("2/dark", 3e-3)):
            handle[f"entry_1/instrument_1/detector_{name}"] = np.full((N, N), level)
    for index, applied, left in ((1, "1/dark", "1/data_dark"), (2, "2/dark", "1/dark")):
        found = read_scan(file, ScanConventions(scan_index=index, values="intensity"))
        note(found, f"detector_{applied} subtracted")
        unread = note(found, "not used: ")
        assert f"detector_{left} (16, 16)" in unread and f"detector_{applied} (" not in unread


@pytest.mark.parametrize(
    ("changes", "reason"),
    [
        ({DATA: None}, "is no CXI file with frames"),
        ({TRANSLATION: None}, "is no CXI file with positions"),
        ({TRANSLATION: np.ones((5, 7))}, "expected real .n, 3. or .n, 2."),
        ({TRANSLATION: np.eye(4, 3) * 1e-8}, "'positions' is .4, 2."),
        ({TRANSLATION: np.full((72, 3), np.nan)}, "the position of frame 0 is not finite"),
        ({TRANSLATION: np.arange(216.0).reshape(72, 3)}, "is a near field, or so sparse that"),
        ({ENERGY: 8000.0}, "the energy of 8000 J is a wavelength of"),
        (
            {ENERGY: 8000.0, WAVELENGTH: None},
            "cannot be joules; .* 'units', or .*--pixel-m",
        ),
        ({WAVELENGTH: 0}, "and 'wavelength' is 0 m"),
        ({DISTANCE: 0}, "has no /entry_1/instrument_1/detector_1/distance, or it is 0"),
        ({DISTANCE: np.nan}, "expected one finite number"),
        ({BASIS: np.zeros((2, 3))}, "not two directions"),
    ],
)
def test_bad_cxi_is_refused_in_one_line(file, changes, reason):
    for path, value in changes.items():
        put(file, path, value)
    with pytest.raises(InputError, match=reason) as error:
        read_scan(file)
    assert str(error.value).startswith(str(file)) and "\n" not in str(error.value)
