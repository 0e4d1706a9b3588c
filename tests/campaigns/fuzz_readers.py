"""What is fuzzed: a good file of every kind, how it is damaged, who reads it, what must hold.

A `Target` writes its good files into a folder once; a case damages one of them and reads all. What
comes back must obey the reader's documented contract, or an `InputError` must say what is wrong.
"""

import hashlib
import json
import sys
from pathlib import Path
from typing import Any

import fuzz_mutate as damage
import numpy as np
from fuzz_states import STATE
from fuzz_tables import TABLES, Target

from ptycho_torch.files import io
from ptycho_torch.runtime.errors import InputError

ROOT = Path(__file__).resolve().parents[2]
sys.path.insert(0, str(ROOT / "tests"))

import scans  # noqa: E402


def _canonical() -> dict[str, Any]:
    scan = scans.a_scan(size=(24, 26))
    rows, columns = scan.positions_n2.T
    return {
        "diffraction": scan.amplitude_nHW,
        "xcoords": columns + 8,
        "ycoords": rows + 8,
        "probeGuess": scan.probe_MHW[0],
        "objectGuess": scan.object_YX,
        "scan_index": np.zeros(len(scan), int),
        "good_pixels": np.ones((1, 16, 16), bool),
        "intensity_scale": np.array(3.0),
        "_metadata": np.array("{}"),
    }


def write_scan(folder: Path) -> None:
    np.savez(folder / "scan.npz", **_canonical())


def write_tike(folder: Path) -> None:
    made = scans.a_scan(size=(24, 26))
    counts = np.rint(np.fft.ifftshift(made.amplitude_nHW**2, axes=(-2, -1)) * 1e4)
    probe = made.probe_MHW[None, None, None]
    np.savez(
        folder / "scan.npz",
        data=counts.astype(np.uint16),
        scan=made.positions_n2[None],
        probe=probe,
        psi=made.object_YX[None],
    )


def write_packed(folder: Path) -> None:
    import bz2

    write_scan(folder)
    (folder / "scan.npz").write_bytes(bz2.compress((folder / "scan.npz").read_bytes()))


def write_cxi(folder: Path) -> None:
    from ptycho_torch.data.write import write_scan_cxi

    write_scan_cxi(folder / "scan.cxi", scans.a_scan(size=(24, 26)))


def write_split(folder: Path) -> None:
    rng = np.random.default_rng(0)
    n, c, side = 4, 1, 16
    thing = (1 + rng.random((1, 24, 24, 1)) * np.exp(1j)).astype(np.complex64)
    np.savez(
        folder / "test.npz",
        **{key: rng.random((n, side, side, c)).astype(np.float32) for key in ("diffraction", "Y_I", "Y_phi")},
        **{key: np.zeros((n, 1, 2, c), np.float32) for key in ("coords_offsets", "coords_nominal", "coords_true")},
        image_index=np.zeros(n, np.int32), YY_full=thing, YY_ground_truth=thing,
        probeGuess=scans.a_probe()[0].astype(np.complex64), norm_Y_I=np.array(1.5),
        intensity_scale=np.array(900.0), _metadata=np.array("{}"),
    )  # fmt: skip


def write_tensors(folder: Path) -> None:
    import torch

    tensors = {"network.a": torch.ones(3, 4), "b": torch.zeros(2, 2, dtype=torch.complex64)}
    io.write_tensors(folder / "last.safetensors", {**tensors, "c": torch.arange(4)})


def write_bundle(folder: Path) -> None:
    import torch

    from ptycho_torch.config.generator import GeneratorSettings
    from ptycho_torch.networks import build_generator
    from ptycho_torch.networks import bundle as b

    generator = GeneratorSettings(name="fno", width=2, fno_blocks=1, modes=2)
    known = b.BundleSettings(
        generator=generator, patch_px=16, channels=1, gridsize=1, object_big=True, input_scale=1.5,
        norm_Y_I=4.2, intensity_scale=900.0, intensity_scale_source="measured",
        mean_amplitude=0.1, dataset="tiny",
    )  # fmt: skip
    network = build_generator(generator, channels=1, patch_px=16, seed=0)
    probe = torch.ones(1, 16, 16, dtype=torch.complex64)
    b.write_bundle(folder, b.Bundle(settings=known, weights=network.state_dict(), probe_MHW=probe))


def sign_bundle(folder: Path) -> None:
    """Sign as a hostile writer would, so that what is inside is looked at."""
    facts = json.loads((folder / "bundle.json").read_bytes())
    facts["weights_sha256"] = hashlib.sha256(
        (folder / "weights.safetensors").read_bytes()
    ).hexdigest()
    facts.pop("sha256", None)
    digest = hashlib.sha256(json.dumps(facts, sort_keys=True).encode()).hexdigest()
    (folder / "bundle.json").write_text(json.dumps({**facts, "sha256": digest}))


def write_dump(folder: Path) -> None:
    rng = np.random.default_rng(0)
    np.savez(
        folder / "arrays.npz", stitched=(1 + rng.random((12, 12)) + 1j).astype(np.complex64),
        origin=np.zeros(2), patches=np.ones((3, 8, 8), np.complex64),
        positions=np.zeros((3, 2)), image_index=np.zeros(3, int),
    )  # fmt: skip
    amplitude = {"mean": [1.0, None], "std": [0.5, 0.5], "var_zero_mean": [0.25, 0.25]}
    facts = {
        "format": "ptycho-torch dump 1", "made_by": "fuzz", "scale_is_free": False,
        "scales": {"input_scale": 1.0, "intensity_scale": 2.0, "intensity_scale_source": "measured",
                   "norm_Y_I": None},
        "shapes": {"stitched": [12, 12]}, "arrays_sha256": None,
        "patch_statistics": {"amplitude": amplitude, "complex": {"mean_modulus": [1.0, 2.0]}},
    }  # fmt: skip
    (folder / "dump.json").write_text(json.dumps(facts))


def read_npz(folder: Path) -> None:
    path = folder / "scan.npz"
    keys = io.npz_keys(path)
    known, present = io.read_npz_known(path, "diffraction", "probeGuess")
    assert present == keys and set(known) <= set(keys)
    for key, array in io.read_npz(path).items():
        assert key in keys and isinstance(array, np.ndarray) and not array.dtype.hasobject


def read_scan(folder: Path) -> None:
    from ptycho_torch.data.read import read_scan as read

    (path,) = folder.iterdir()
    scan = read(path)
    assert scan.amplitude_nHW.dtype == np.float32 and scan.positions_n2.dtype == np.float64
    used = np.broadcast_to(
        True if scan.good_1HW is None else scan.good_1HW, scan.amplitude_nHW.shape
    )
    assert np.isfinite(scan.amplitude_nHW[used]).all() and (scan.amplitude_nHW[used] >= 0).all()
    assert scan.positions_n2.shape == (len(scan), 2) and np.isfinite(scan.positions_n2).all()
    for part in (scan.probe_MHW, scan.object_YX):
        assert part is None or (part.dtype == np.complex64 and np.isfinite(part).all())
    assert scan.intensity_scale is None or 0 < scan.intensity_scale < np.inf
    assert all(note.isprintable() for note in scan.notes) and scan.summary().isprintable()


def read_split(folder: Path) -> None:
    from ptycho_torch.data.dataset_file import read_split as read

    split = read(folder / "test.npz", patch_px=16)
    assert 0 < split.norm_Y_I < np.inf and 0 < split.intensity_scale < np.inf
    assert all(np.isfinite(array).all() for array in split.arrays.values())
    assert split.diffraction_nCHW.shape[2:] == (16, 16) and split.probe_MHW.shape[1:] == (16, 16)
    assert split.arrays["diffraction"].dtype == np.float32 and (split.diffraction_nCHW >= 0).all()


def read_hdf5(folder: Path) -> None:
    from ptycho_torch.files.hdf5 import open_hdf5

    with open_hdf5(folder / "scan.cxi") as file:
        todo, seen = ["/"], 0
        while todo and seen < 60:
            path, seen = todo.pop(), seen + 1
            todo += [f"{path.rstrip('/')}/{name}" for name in file.names(path)]
            file.attribute(path, "axes", "units")
            text = file.text(path)
            assert text is None or isinstance(text, str)
            for read in (file.array, file.number):
                try:
                    read(path)
                except InputError as error:
                    one_line(error)


def read_tensors(folder: Path) -> None:
    import torch

    for name, tensor in io.read_tensors(folder / "last.safetensors").items():
        assert isinstance(name, str) and isinstance(tensor, torch.Tensor)


def read_bundle(folder: Path) -> None:
    import torch

    from ptycho_torch.networks.bundle import read_bundle as read

    found = read(folder)
    side = found.settings.patch_px
    assert found.probe_MHW.shape[1:] == (side, side) and torch.isfinite(found.probe_MHW.real).all()
    assert all(torch.isfinite(w).all() for w in found.weights.values())


def read_dump(folder: Path) -> None:
    from ptycho_torch.infer.parity.files import read_dump as read

    dump = read(folder)
    assert dump.stitched_IYX.ndim == 3 and isinstance(dump.made_by, str)
    for block in (dump.statistics or {}).values():
        assert all(values.ndim == 1 and values.dtype == np.float64 for values in block.values())


def one_line(error: Exception) -> None:
    text = str(error)
    # A study's mistakes have an indented line each.
    lines = text.split("\n  ")
    assert text and all(map(str.isprintable, lines)), f"not one printable line: {text!r}"
    assert (
        len(lines) == 1 or type(error.__cause__ or error.__context__).__name__ == "ValidationError"
    )
    assert "allocate" not in text, f"memory was asked for first: {text}"


TARGETS = {
    target.name: target
    for target in (
        Target("npz", write_scan, read_npz),
        Target("npz_packed", write_packed, read_scan, (damage.mutate,), share=0.3),
        Target("scan", write_scan, read_scan),
        Target("tike", write_tike, read_scan),
        Target("split", write_split, read_split),
        Target("cxi", write_cxi, read_scan),
        Target("hdf5", write_cxi, read_hdf5, share=0.2),
        Target("tensors", write_tensors, read_tensors, share=2.0),
        Target("bundle", write_bundle, read_bundle, after=sign_bundle, share=1.5),
        Target("dump", write_dump, read_dump, share=1.5),
        STATE,
        *TABLES,
    )
}
