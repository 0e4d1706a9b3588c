"""CXI files of other programs: units, signs, masks, links, and what is refused."""

import h5py
import numpy as np
import pytest
from tests.data.compare import note

from ptycho_torch.config.scan import ScanConventions
from ptycho_torch.data.geometry import MADE_UP
from ptycho_torch.data.read import read_scan
from ptycho_torch.data.write import write_scan_cxi
from ptycho_torch.runtime.errors import InputError

DETECTOR, SOURCE = "entry_1/instrument_1/detector_1", "entry_1/instrument_1/source_1"
TRANSLATION = "entry_1/sample_1/geometry_1/translation"
DATA, MASK = f"{DETECTOR}/data", f"{DETECTOR}/mask"
WAVELENGTH, ENERGY = f"{SOURCE}/wavelength", f"{SOURCE}/energy"
DISTANCE, CORNER = f"{DETECTOR}/distance", f"{DETECTOR}/corner_position"
BASIS, X_SIDE = f"{DETECTOR}/basis_vectors", f"{DETECTOR}/x_pixel_size"
LINKS = (f"{DETECTOR}/translation", "entry_1/data_1/translation")
PROBE, OBJECT = "entry_1/image_1/data", "entry_1/image_2/data"
EV = 1.602176634e-19
N = 16
ONE_IS_DARK = np.ones((72, N, N)) * (np.arange(72) != 5)[:, None, None]
PIXEL = MADE_UP.object_pixel_m(N)[0]


@pytest.fixture
def file(tmp_path, scan):
    write_scan_cxi(tmp_path / "scan.cxi", scan)
    with h5py.File(tmp_path / "scan.cxi", "a") as handle:
        del handle["entry_1/ptycho_torch"]
    return tmp_path / "scan.cxi"


def put(file, path, value, **attributes):
    """Write an array in place of another one, whose attributes it keeps; None removes it."""
    with h5py.File(file, "a") as handle:
        kept = dict(handle[path].attrs) if path in handle else {}
        handle.pop(path, None)
        if value is not None:
            handle[path] = value
            handle[path].attrs.update(kept | attributes)


def scale(file, path, factor, **attributes):
    with h5py.File(file) as handle:
        value = handle[path][()] * factor
    put(file, path, value, **attributes)


def remove(file, *paths):
    for path in paths:
        put(file, path, None)


def get(file, path):
    with h5py.File(file) as handle:
        return handle[path][()]


def same_positions(file, scan, reading=ScanConventions()):  # noqa: B008
    found = read_scan(file, reading)
    np.testing.assert_allclose(found.positions_n2, scan.positions_n2, atol=1e-9)
    return found


def test_geometry_follows_from_energy_basis_and_corner(file, scan):
    remove(file, WAVELENGTH, DISTANCE, X_SIDE, f"{DETECTOR}/y_pixel_size")
    put(file, BASIS, get(file, BASIS).T)
    note(same_positions(file, scan), "wavelength from the photon energy")


def test_a_detector_that_looks_the_other_way_moves_the_other_way(file, scan):
    scale(file, BASIS, -1)
    scale(file, TRANSLATION, -1)
    note(same_positions(file, scan), "rows run along")


def test_the_sign_is_an_option_and_always_note(file, scan):
    note(same_positions(file, scan), "+translation (y, x); the other sign fits")
    scale(file, TRANSLATION, -1)
    note(same_positions(file, scan, ScanConventions(translation_sign=-1)), "-translation (y, x)")


@pytest.mark.parametrize("transposed", [False, True])
@pytest.mark.parametrize("unit", ["pixels", "um"])
def test_translations_in_other_units(file, scan, unit, transposed):
    moved = get(file, TRANSLATION) * {"pixels": 1 / PIXEL, "um": 1e6}[unit]
    put(file, TRANSLATION, moved.T if transposed else moved, units=unit)
    same_positions(file, scan)


def test_large_translations_without_a_unit_are_pixels_unless_the_geometry_fits_another(file, scan):
    scale(file, TRANSLATION, 1e6, units="")
    with pytest.raises(InputError, match="have no unit.* its geometry fits --units um; give that"):
        read_scan(file)
    same_positions(file, scan, ScanConventions(units="um"))
    scale(file, TRANSLATION, 1e-6 / PIXEL)
    same_positions(file, scan, ScanConventions(units="pixels"))
    remove(file, DISTANCE, CORNER)
    note(same_positions(file, scan), "span more than a metre: taken as pixels")


def test_the_mask_is_honoured_bit_by_bit(file, scan):
    mask = np.zeros((N, N), np.uint32)
    mask[1, 2], mask[3, 4], mask[5, 6], mask[7, 8] = 0x2, 0x200, 0x1000, 0x20
    put(file, MASK, mask)
    frames = get(file, DATA)
    frames[:, 1, 2] = -1
    put(file, DATA, frames)
    found = read_scan(file)
    assert np.argwhere(~found.good_1HW).tolist() == [[0, 1, 2], [0, 3, 4]]


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


@pytest.mark.parametrize(
    ("distance", "reason"),
    [(0.001, "detector is wider than its distance"), (0.01, "Fresnel number")],
)
def test_near_field_geometry_is_refused_with_its_numbers(file, distance, reason):
    scale(file, TRANSLATION, 10)
    put(file, DISTANCE, distance)
    remove(file, CORNER)
    with pytest.raises(
        InputError, match=rf"near-field geometry .distance {distance:g} m, .*{reason}"
    ):
        read_scan(file)


@pytest.mark.parametrize(
    ("path", "worth", "attributes"),
    [
        (DISTANCE, 1e-3, {"units": "mm"}),
        (DISTANCE, 1e-2, {"unit": b"Centimetres"}),
        (WAVELENGTH, 1e-10, {"units": "angstrom"}),
        (WAVELENGTH, 1e-10, {"units": "\u212b"}),
        (WAVELENGTH, 1e-10, {"units": "A"}),
        (WAVELENGTH, 1e-9, {"Units": "nanometers"}),
        (WAVELENGTH, 1e-12, {"units": "pm"}),
        (ENERGY, EV, {"units": "eV"}),
        (ENERGY, 1e3 * EV, {"units": np.bytes_(b"keV")}),
        (X_SIDE, 1e-6, {"units": "\u03bcm"}),
        (X_SIDE, 1e-6, {"units": np.bytes_(b"\xb5m")}),
        (X_SIDE, 1e-6, {"units": "Microns"}),
        (CORNER, 1e-3, {"units": "mm"}),
        (BASIS, 1e-6, {"units": "um"}),
        (TRANSLATION, 1e-9, {"units": ["nm", "nm", "nm"]}),
        (TRANSLATION, 1.0, {"units": h5py.Empty("S1")}),
    ],
)
@pytest.mark.parametrize("alone", [False, True])
def test_each_length_and_energy_is_read_in_its_unit(file, scan, path, worth, attributes, alone):
    """Beside what says the same, with which it must agree, and alone."""
    scale(file, path, 1 / worth, **attributes)
    twins = [(WAVELENGTH, ENERGY), (DISTANCE, CORNER), (X_SIDE, BASIS)] if alone else []
    for twin in (b if path == a else a for a, b in twins if path in (a, b)):
        remove(file, twin)
    same_positions(file, scan)


def test_energy_and_wavelength_may_be_those_of_electrons(file):
    """300 keV: 12.2643 A / sqrt(V + 0.978476e-6 V^2) = 1.9687 pm."""
    put(file, WAVELENGTH, 1.9687e-12)
    scale(file, TRANSLATION, 1.9687e-12 / MADE_UP.wavelength_m)
    put(file, ENERGY, 300e3 * EV)
    note(read_scan(file), "300000 eV and wavelength are those of electrons")


@pytest.mark.parametrize(
    ("path", "change", "words"),
    [
        (ENERGY, 3, "is a wavelength of"),
        (WAVELENGTH, 1.02, "is a wavelength of"),
        (DISTANCE, 2, "distance is 4 m, and corner_position makes it 2 m"),
        (X_SIDE, 2, "x_pixel_size is 0.00015 m, and basis_vectors makes it 7.5e-05 m"),
    ],
)
def test_two_that_contradict_each_other_are_refused(file, path, change, words):
    scale(file, path, change)
    with pytest.raises(InputError, match=f"{words}.*give --pixel-m"):
        read_scan(file)
    read_scan(file, ScanConventions(pixel_m=PIXEL))


@pytest.mark.parametrize("path", [WAVELENGTH, ENERGY, DISTANCE, X_SIDE])
@pytest.mark.parametrize("value", [1e4, "furlongs"])
def test_a_unit_that_is_unknown_or_cannot_be_is_refused(file, path, value):
    if value == "furlongs":
        scale(file, path, 1, units=value)
    else:
        put(file, path, value)
        remove(file, *{WAVELENGTH, ENERGY, CORNER, BASIS} - {path})
    words = "which are not known here; expected one of" if value == "furlongs" else "which no"
    with pytest.raises(InputError, match=f"{path}.*{words}"):
        read_scan(file)


@pytest.mark.parametrize("path", [WAVELENGTH, ENERGY, DISTANCE])
def test_of_a_number_for_each_frame_the_median_is_taken(file, scan, path):
    value = get(file, path)
    put(file, path, value * (1 + np.linspace(-1e-4, 1e-4, len(scan) + 1)[:, None]))
    note(same_positions(file, scan), f"{path} varies by 0.0002 of its median")
    put(file, path, value * np.linspace(0.9, 1.1, len(scan)))
    with pytest.raises(InputError, match=f"{path} is .* to .*, expected one finite number"):
        read_scan(file)


def test_a_requested_unit_that_contradicts_the_attribute_is_note(file, scan):
    scale(file, TRANSLATION, 1, units="pixels")
    found = same_positions(file, scan, ScanConventions(units="metres"))
    note(found, "--units metres wins over the translations' attribute 'pixels'")
    assert not any("translations are in pixels" in note for note in found.notes)


@pytest.mark.parametrize("turn", [lambda a: a[None], lambda a: a[:, None]])
def test_axes_of_one_are_dropped_wherever_they_are(file, scan, turn):
    put(file, MASK, np.zeros((1, N, N), "u4"))
    for path, change in ((TRANSLATION, turn), (DATA, turn), (PROBE, _one), (OBJECT, _one)):
        put(file, path, change(get(file, path)))
    same_positions(file, scan)


def _one(array):
    return array[None]


def as_two_entries(handle):
    handle.copy("entry_1", "entry_2")
    frames = handle[f"entry_2/{DETECTOR.partition('/')[2]}/data"]
    frames[()] = frames[()] * 4


def as_two_detectors(handle):
    handle.copy(DETECTOR, "entry_1/instrument_1/detector_2")
    frames = handle["entry_1/instrument_1/detector_2/data"]
    frames[()] = frames[()] * 4


def as_data_groups(handle):
    del handle["entry_1/data_1/data"]
    handle.move(f"{DETECTOR}/data", "entry_1/data_1/data")
    handle["entry_1/data_2/data"] = handle["entry_1/data_1/data"][()] * 4


@pytest.mark.parametrize(
    ("change", "kind"),
    [(as_two_entries, "entry"), (as_two_detectors, "detector"), (as_data_groups, "data")],
)
def test_one_of_several_is_chosen_by_the_option_and_note(file, scan, change, kind):
    with h5py.File(file, "a") as handle:
        change(handle)
    for index, factor in ((None, 1), (1, 1), (2, 2)):
        found = same_positions(file, scan, ScanConventions(scan_index=index))
        np.testing.assert_allclose(found.amplitude_nHW, scan.amplitude_nHW * factor, 1e-5)
        line = f"{kind} {index or 1} is read, of 1, 2 (--scan-index)"
        assert line in found.notes
    with pytest.raises(InputError, match=f"has no {kind} 7; it has: 1, 2; .*--scan-index"):
        read_scan(file, ScanConventions(scan_index=7))


def test_only_the_first_dark_field_of_the_chosen_detector_is_applied(file):
    with h5py.File(file, "a") as handle:
        as_two_detectors(handle)
        for name, level in (("1/dark", 1e-3), ("1/data_dark", 2e-3), ("2/dark", 3e-3)):
            handle[f"entry_1/instrument_1/detector_{name}"] = np.full((N, N), level)
    for index, applied, left in ((1, "1/dark", "1/data_dark"), (2, "2/dark", "1/dark")):
        notes = read_scan(file, ScanConventions(scan_index=index, values="intensity")).notes
        assert any(f"detector_{applied} subtracted" in note for note in notes)
        unread = next(note for note in notes if note.startswith("not used: "))
        assert f"detector_{left} (16, 16)" in unread
        assert f"detector_{applied} (" not in unread


def test_an_index_that_is_not_there_is_refused_and_the_only_one_is_read(file, scan):
    with pytest.raises(InputError, match="has no detector 7; it has: 1"):
        read_scan(file, ScanConventions(scan_index=7))
    with h5py.File(file, "a") as handle:
        handle.move("entry_1", "entry_3")
        for link in (*LINKS, "entry_1/data_1/data", f"{SOURCE}/illumination"):
            del handle[link.replace("entry_1", "entry_3")]
    for index in (None, 3):
        same_positions(file, scan, ScanConventions(scan_index=index))


@pytest.mark.parametrize(
    ("changes", "reason"),
    [
        ({"entry_1/data_1/data": None, DATA: None}, "has no frames"),
        (dict.fromkeys((*LINKS, TRANSLATION)), "has no positions"),
        ({TRANSLATION: np.ones((5, 7))}, "expected real .n, 3. or .n, 2."),
        ({TRANSLATION: np.eye(4, 3) * 1e-8}, "'positions' is .4, 2."),
        ({TRANSLATION: np.eye(3) * 1e-8, DATA: ONE_IS_DARK}, "'positions' is .3, 2."),
        ({TRANSLATION: np.full((72, 3), np.nan)}, "the position of frame 0 is not finite"),
        ({WAVELENGTH: None, ENERGY: 8000.0}, "energy is 8000 J, which no photon has"),
        ({DISTANCE: 0}, "distance is 0, expected a length > 0"),
        ({DISTANCE: np.nan}, "expected one finite number"),
        ({BASIS: np.zeros((2, 3))}, "not two directions"),
        ({CORNER: np.ones(4)}, "corner_position is .4,. float64, expected real numbers, three"),
        ({CORNER: np.ones(3) * 1j}, "corner_position is .3,. complex128, expected real numbers"),
        ({MASK: np.full((N, N), 0.5)}, "mask is .16, 16. float64, expected whole numbers"),
    ],
)
def test_bad_cxi_is_refused_in_one_line(file, changes, reason):
    for path, value in changes.items():
        put(file, path, value)
    with pytest.raises(InputError, match=reason) as error:
        read_scan(file)
    assert str(error.value).startswith(str(file))
    assert "\n" not in str(error.value)
