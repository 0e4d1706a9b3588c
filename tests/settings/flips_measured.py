"""Settings of measurements: how they are read, grouped, held out, reconstructed, used."""

import dataclasses

import numpy as np
import torch

from ptycho_torch.config.generator import GeneratorSettings
from ptycho_torch.config.real_data import RealDataScores, RegionSettings
from ptycho_torch.config.reconstruct import ConventionalSettings, RpieSettings
from ptycho_torch.config.scan import FitSettings, InferSettings, ScanConventions
from ptycho_torch.data.hold_out import hold_out_region
from ptycho_torch.data.read import read_scan
from ptycho_torch.data.training import data_of_scan
from ptycho_torch.evaluate.estimate import ObjectEstimate, common_box
from ptycho_torch.files import io
from ptycho_torch.infer.run import infer_scan
from ptycho_torch.networks import build_generator
from ptycho_torch.networks.bundle import Bundle, BundleSettings
from ptycho_torch.reconstruct.rpie import reconstruct_rpie
from ptycho_torch.runtime.errors import InputError


def rpie(key, value, **base):
    """Return a flip that must give another object, probe, error or number of iterations."""

    def flip(tools):
        made = []
        for changed in ({}, {key: value}):
            settings = RpieSettings.model_validate(
                {"iterations": 3, "batch_size": 4, **base, **changed}
            )
            scan = tools.scan
            found = reconstruct_rpie(
                scan.amplitude_nHW, scan.positions_n2, scan.probe_MHW, settings
            )
            made.append((found.object_YX.tobytes(), found.probe_MHW.tobytes(), found.error))
        assert made[0] != made[1]

    return flip


def region(key, value):
    def flip(tools):
        places = tools.scan.positions_n2
        kept = [
            hold_out_region(
                places, RegionSettings(rows=[0.0, 0.5], columns=[0.0, 0.5], **changed)
                if key not in ("rows", "columns")
                else RegionSettings(**{"rows": [0.0, 0.5], "columns": [0.0, 0.5], **changed}),
                gap_px=1.0, source="t",
            ).validation.tolist()
            for changed in ({}, {key: value})
        ]  # fmt: skip
        assert kept[0] != kept[1]

    return flip


def fit(key, value, base=()):
    """Return a flip that must prepare other frames, groups, units or networks for a training."""

    def flip(tools):
        made = []
        for changed in ({}, {key: value}):
            given = {"name": "t", "gap_px": 2.0, **dict(base), **changed}
            settings = FitSettings.model_validate(given)
            try:
                scan = dataclasses.replace(tools.scan, intensity_scale=None)
                made.append(_shown(data_of_scan(scan, settings)))
            except InputError as error:
                made.append(str(error))
        assert made[0] != made[1]

    return flip


def _shown(thing):
    """Return everything that a prepared training holds, as text."""
    if dataclasses.is_dataclass(thing):
        return repr([(f.name, _shown(getattr(thing, f.name))) for f in dataclasses.fields(thing)])
    if isinstance(thing, torch.Tensor):
        return repr(thing.numpy().tobytes())
    if isinstance(thing, np.ndarray):
        return repr(thing.tobytes())
    return repr(thing)


def bundle(tools, channels=1):
    generator = GeneratorSettings(name="hybrid", width=2, fno_blocks=2, modes=2)
    side = tools.scan.patch_px
    settings = BundleSettings(
        generator=generator, patch_px=side, channels=channels, gridsize=1 if channels == 1 else 2,
        object_big=True, input_scale=1.0, norm_Y_I=4.0, intensity_scale=100.0,
        intensity_scale_source="measured", mean_amplitude=0.1, dataset="t",
    )  # fmt: skip
    network = build_generator(generator, channels=channels, patch_px=side, seed=1)
    return Bundle(
        settings=settings, weights=network.state_dict(),
        probe_MHW=torch.from_numpy(tools.scan.probe_MHW * np.exp(0.3j * np.arange(side))),
    )  # fmt: skip


def infer(key, value, channels=1, **base):
    """Return a flip that must give other patches, groups or numbers, or a refusal."""

    def flip(tools):
        scan = dataclasses.replace(tools.scan, intensity_scale=50.0)
        made = []
        for changed in ({}, {key: value}):
            settings = InferSettings.model_validate(
                {"accelerator": "cpu", "threads": 1, **base, **changed}
            )
            try:
                found = infer_scan(bundle(tools, channels), scan, settings)
                shown = (found.patches_GCHW, found.members_GC, found.stitched.object_YX)
                made.append([array.tobytes() for array in shown])
            except InputError as error:
                made.append(str(error))
        assert made[0] != made[1]

    return flip


def batches(tools):
    """The bound on memory: how many groups the network sees at once; the same numbers."""
    seen = []

    def watch(size):
        made = bundle(tools)
        settings = InferSettings(accelerator="cpu", threads=1, batch_size=size)
        plain = torch.nn.Module.__call__

        def call(self, *args, **more):
            if type(self).__module__.startswith("ptycho_torch.networks.unet"):
                seen.append((size, len(args[0])))
            return plain(self, *args, **more)

        torch.nn.Module.__call__ = call
        try:
            return infer_scan(made, tools.scan, settings).patches_GCHW
        finally:
            torch.nn.Module.__call__ = plain

    whole, parts = watch(64), watch(2)
    np.testing.assert_allclose(whole, parts, atol=1e-5)
    assert max(n for size, n in seen if size == 2) == 2 < max(n for size, n in seen if size == 64)


def infer_threads(tools):
    found = []
    plain = torch.set_num_threads
    torch.set_num_threads = found.append
    try:
        for threads in (1, 2):
            infer_scan(bundle(tools), tools.scan, InferSettings(accelerator="cpu", threads=threads))
    finally:
        torch.set_num_threads = plain
    assert found == [1, 2] or found == [1, 1]  # A machine of one core has no second one.


def layer(tools):
    scan = tools.scan
    lit = np.zeros(scan.object_YX.shape)
    rows, columns = (np.linspace(0, 1, n) for n in lit.shape)
    lit[:] = np.minimum.outer(np.minimum(rows, 1 - rows), np.minimum(columns, 1 - columns)) * 2
    return ObjectEstimate(scan.object_YX, (0, 0), lit, scan.probe_MHW)


def shares(key, function):
    def flip(tools):
        assert repr(RealDataScores(**{key: 0.1})) != repr(RealDataScores(**{key: 0.3}))
        made = layer(tools)
        assert not np.array_equal(function(made, tools.scan, 0.05), function(made, tools.scan, 0.4))

    return flip


def snapshots(tools):
    settings = [ConventionalSettings(iterations=9, snapshots=list(s)) for s in ((1,), (1, 5))]
    assert [one.scored_iterations for one in settings] == [[1, 9], [1, 5, 9]]


def reading(key, value, **base):
    """Return a flip that must read another scan from the same file, or refuse it."""

    def flip(tools):
        scan = tools.scan
        arrays = {
            "diffraction": scan.amplitude_nHW,
            "xcoords": scan.positions_n2[:, 1] + scan.patch_px // 2,
            "ycoords": scan.positions_n2[:, 0] + scan.patch_px // 2,
            "probeGuess": scan.probe_MHW[0],
            "objectGuess": scan.object_YX,
            "scan_index": np.arange(len(scan)) // 8,
        }
        io.write_npz(tools.folder / "scan.npz", arrays)
        found = []
        for changed in ({}, {key: value}):
            settings = ScanConventions.model_validate({"scan_index": 0, **base, **changed})
            try:
                found.append(_shown(read_scan(tools.folder / "scan.npz", settings)))
            except InputError as error:
                found.append(str(error))
        assert found[0] != found[1]

    return flip


GROUPS = (("groups", {"gridsize": 2}),)
FLIPS = {
    "ScanConventions.values": reading("values", "intensity"),
    "ScanConventions.zero_frequency": reading("zero_frequency", "corner"),
    "ScanConventions.units": reading("units", "metres", pixel_m=1e-8),
    "ScanConventions.pixel_m": reading("pixel_m", 2e-8, units="metres"),
    "ScanConventions.origin": reading("origin", "corner"),
    "ScanConventions.half_pixel": reading("half_pixel", 1),
    "ScanConventions.swap_axes": reading("swap_axes", True),
    "ScanConventions.flip_rows": reading("flip_rows", True),
    "ScanConventions.flip_columns": reading("flip_columns", True),
    "ScanConventions.scan_index": reading("scan_index", 1),
    "ScanConventions.n_images": reading("n_images", 5),
    "ScanConventions.patch_px": reading("patch_px", 12),
    "ScanConventions.fit": reading("fit", "bin", patch_px=8),
    "ScanConventions.saturation_counts": reading("saturation_counts", 1e-3),
    "RpieSettings.iterations": rpie("iterations", 4),
    "RpieSettings.alpha": rpie("alpha", 0.5),
    "RpieSettings.object_step": rpie("object_step", 0.5),
    "RpieSettings.refine_probe": rpie("refine_probe", True),
    "RpieSettings.probe_alpha": rpie("probe_alpha", 0.5, refine_probe=True),
    "RpieSettings.probe_step": rpie("probe_step", 0.5, refine_probe=True),
    "RpieSettings.probe_from_iteration": rpie("probe_from_iteration", 2, refine_probe=True),
    "RpieSettings.probe_scale": rpie("probe_scale", "frames"),
    "RpieSettings.batch_size": rpie("batch_size", 1),
    "RpieSettings.seed": rpie("seed", 1),
    "RpieSettings.stop_change": rpie("stop_change", 0.99, iterations=21),
    "RpieSettings.margin_px": rpie("margin_px", 2),
    "ConventionalSettings.snapshots": snapshots,
    "RegionSettings.rows": region("rows", [0.5, 1.0]),
    "RegionSettings.columns": region("columns", [0.5, 1.0]),
    "RealDataScores.lit_share": shares(
        "lit_share", lambda made, scan, share: repr(common_box([made], share))
    ),
    "RealDataScores.covered_share": shares("covered_share", ObjectEstimate.covered_shares),
    "RealDataScores.known_share": shares("known_share", ObjectEstimate.predict),
    "GroupSettings.gridsize": fit("groups", {"gridsize": 2}),
    "GroupSettings.n_images": fit("groups", {"n_images": 30}),
    "GroupSettings.neighbor_count": fit("groups", {"gridsize": 2, "neighbor_count": 5}, GROUPS),
    "FitSettings.seed": fit("seed", 1, GROUPS),
    "FitSettings.validation_fraction": fit("validation_fraction", 0.3),
    "FitSettings.gap_px": fit("gap_px", 6.0),
    "FitSettings.photons": fit("photons", 1e6),
    "InferSettings.scale": infer("scale", 7.0),
    "InferSettings.probe": infer("probe", "file"),
    "InferSettings.neighbor_count": infer("neighbor_count", 5, channels=4),
    "InferSettings.n_images": infer("n_images", 5),
    "InferSettings.seed": infer("seed", 1, channels=4),
    "InferSettings.batch_size": batches,
    "InferSettings.threads": infer_threads,
    "InferSettings.accelerator": infer("accelerator", "mps"),
}
FIRST = "measurements/test_read.py::test_"
HELD = {
    "FitSettings.name": "train/test_scan.py::test_a_run_leaves_its_files_and_says_what_it_did",
    "FitSettings.arm": "train/test_scan.py::test_a_run_leaves_its_files_and_says_what_it_did",
    "ScanConventions.format": f"{FIRST}the_layout_of_tike_packed_or_not",
    "ScanConventions.image": f"{FIRST}one_image_of_a_split",
    "ScanConventions.translation_sign": "measurements/test_cxi.py::test_the_sign_is_an_option_and_always_said",
    "Measurement.about": "real_data/test_summary.py::test_the_whole_chain_runs_through_snakemake",
    "Measurement.address": "real_data/test_download.py::test_a_download_is_the_very_file",
    "Measurement.sha256": "real_data/test_download.py::test_a_wrong_download_is_one_line_and_leaves_nothing",
    "Measurement.file": "real_data/test_download.py::test_a_folder_comes_first_and_is_checked_as_well",
    "Measurement.max_bytes": "real_data/test_download.py::test_a_wrong_download_is_one_line_and_leaves_nothing",
}  # fmt: skip
