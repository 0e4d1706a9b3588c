"""Score a reconstruction of a measurement without a ground truth (docs/own-data.md): the objects
of its parts on one canvas, what they predict, and how they agree.

Letters: n frames, M probe modes, H rows, W columns, Y rows, X columns of the canvas. Positions
and origins are in the coordinates of the scan, (row, column), pixels; boxes in the canvas's.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import product
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ptycho_torch.data.read import read_scan
from ptycho_torch.data.scan import Scan
from ptycho_torch.data.write import PARTS
from ptycho_torch.evaluate import scores
from ptycho_torch.evaluate.scores import MARGIN_PX, Free
from ptycho_torch.files import io
from ptycho_torch.physics.predict import illuminated, predict_amplitudes, r_factor
from ptycho_torch.runtime.errors import InputError

Arrays = Mapping[str, NDArray[Any]]
Box = tuple[slice, slice]
# Sides under this are too small to compare anything in, pixels.
_LEAST_PX = 16
# Objects are compared in the largest rectangle whose pixels all get this share of the brightest
# one's light, from the training frames and from each half of them.
_LIT_SHARE = 0.1
# Pixels with less light than this share predict frames by the object's mean.
_KNOWN_SHARE = 0.001
SHOWN_FRAMES = 3
"""Held-out frames whose patterns are kept for pictures."""


def evaluate_measurement(
    *,
    objects: io.PathLike,
    report: io.PathLike,
    rpie: io.PathLike,
    parts: Mapping[str, io.PathLike],
    outputs: Mapping[str, io.PathLike],
) -> None:
    """Score one reconstruction, rPIE's or a network's, and write `metrics` and `curves`.

    rpie: `objects.npz` of rPIE, which says where all are compared and with what; parts: paths of
    `PARTS`. A network's probe is rPIE's: a constant phase alone is free between them.
    """
    facts = io.read_json(report)
    metrics = {key: facts[key] for key in ("engine", "outcome", "failure")}
    curves: dict[str, NDArray[Any]] = {}
    if facts["outcome"] == "completed":
        scans = {part: read_scan(parts[part]) for part in PARTS}
        standard = io.read_npz(rpie)
        arrays = standard if facts["engine"] == "rPIE" else io.read_npz(objects)
        scored = _Scoring(scans, arrays, standard)
        metrics |= scored.metrics()
        curves = scored.curves
    io.write_npz(outputs["curves"], curves)
    io.write_json(outputs["metrics"], metrics)


class _Scoring:
    """The scores of one reconstruction; `curves` collects what figures draw."""

    def __init__(self, scans: Mapping[str, Scan], arrays: Arrays, standard: Arrays) -> None:
        self.scans, self.arrays = scans, arrays
        self.is_rpie = arrays is standard
        self.rpie, self.estimates = read_estimates(scans, standard, arrays)
        compared = [self.rpie[part] for part in ("train", "half_a", "half_b")]
        self.box = common_box(compared, _LIT_SHARE)
        self.wide = tuple(slice(b.start - MARGIN_PX, b.stop + MARGIN_PX) for b in self.box)
        self.lit = self.rpie["train"].lit_shares(scans["held_out"], _LIT_SHARE)
        self.curves: dict[str, NDArray[Any]] = {}

    def metrics(self) -> dict[str, Any]:
        found: dict[str, Any] = {
            "box_px": [side.stop - side.start for side in self.box],
            "held_out": {"frames": len(self.lit), "lit_share": float(self.lit.mean())},
            "r_factor": self._r_factors(),
            "halves": self._halves("all" if self.is_rpie else "phase"),
            "agreement": self._agreement(),
        }
        return found | ({"baselines": self._baselines()} if self.is_rpie else {})

    def _r_factors(self) -> dict[str, Any]:
        """Return R of the frames that an object was made from, and of those that it was not."""
        train, held = self.scans["train"], self.scans["held_out"]
        fitted, guessed = (self.estimates["train"].predict(s, _KNOWN_SHARE) for s in (train, held))
        # For pictures, evenly among the frames: no choice by their looks.
        places = (np.arange(SHOWN_FRAMES) + 0.5) / SHOWN_FRAMES * len(held)
        shown = np.unique(places.astype(int))
        self.curves |= {"observed": held.amplitude_nHW[shown], "predicted": guessed[shown]}
        return {
            "train": _r_factor(fitted, train),
            "held_out_object": _r_factor(guessed, held),
            "held_out_patch": self._patches(held, shown),
        }

    def _patches(self, held: Scan, shown: NDArray[np.int64]) -> float | None:
        """Return R of what a network's patches predict for the frames that they come from."""
        if "held_out_patches" not in self.arrays:
            return None
        patches, members = self.arrays["held_out_patches"], self.arrays["held_out_members"]
        probe = self.arrays["held_out_probe"]
        # A patch lies on the pixels of its own frame: nothing is moved.
        guessed = np.concatenate([predict_amplitudes(p, probe, np.zeros((1, 2))) for p in patches])
        first = [int(np.flatnonzero(members == frame)[0]) for frame in shown]
        self.curves["predicted_patch"] = guessed[first]
        return _r_factor(guessed, held.take(members))

    def _halves(self, free: Free) -> dict[str, Any]:
        """Return where the Fourier ring correlation of two half scans' objects falls."""
        first = self.estimates["half_a"].object_YX[self.box]
        wide = self.estimates["half_b"].object_YX[self.wide]
        second, shift_px = scores.register(first, wide, free=free)
        curves, crossings = scores.resolution(first, second)
        self.curves |= {f"frc_{name}": curve for name, curve in curves.items()}
        return {"shift_px": shift_px, **crossings}

    def _agreement(self) -> dict[str, Any]:
        """Return how far the object of the training frames is from rPIE's."""
        own, its = self.estimates["train"], self.rpie["train"]
        reference = its.object_YX[self.box]
        # As it is under a probe of rPIE's power: no pattern tells the two.
        ratio = np.linalg.norm(own.probe_MHW) / np.linalg.norm(its.probe_MHW)
        image, _ = scores.register(reference, own.object_YX[self.wide] * ratio, free="phase")
        self.curves |= {"reference": reference, "image": image}
        return {
            **similarity(reference, image),
            "constant": similarity(reference, np.full_like(reference, reference.mean())),
        }

    def _baselines(self) -> dict[str, Any]:
        """Return R of a constant object of the frames' power, and of the photon noise alone."""
        train, held, one = self.scans["train"], self.scans["held_out"], self.estimates["train"]
        flat = predict_amplitudes(np.ones((train.patch_px,) * 2), one.probe_MHW, np.zeros((1, 2)))
        flat = flat * np.linalg.norm(train.amplitude_nHW) / np.linalg.norm(flat) / len(train) ** 0.5
        found = {
            "constant_train": _r_factor(flat, train),
            "constant_held_out": _r_factor(flat, held),
            "noise": None,
        }
        root = one.predict(train, _KNOWN_SHARE) * np.float64(train.intensity_scale or np.nan)
        if np.isfinite(root).all():
            drawn = np.sqrt(np.random.default_rng(0).poisson(root**2))
            found["noise"] = r_factor(root, drawn, train.good_1HW)
        return found


def _r_factor(predicted_nHW: NDArray[Any], scan: Scan) -> float | None:
    """Return R of a scan's frames; None if there is no light, or something is not finite."""
    return io.finite_or_none(r_factor(predicted_nHW, scan.amplitude_nHW, scan.good_1HW))


def similarity(reference_HW: NDArray[Any], image_HW: NDArray[Any]) -> dict[str, float | None]:
    """Return correlations and SSIMs of two registered complex images; None where undefined."""
    contrasts = (reference_HW - reference_HW.mean(), image_HW - image_HW.mean())
    amplitudes = (np.abs(one).astype(np.float64) for one in (reference_HW, image_HW))
    phases = (one.astype(np.float64) for one in scores.aligned_phases(reference_HW, image_HW))
    return {
        "correlation": scores.correlation(reference_HW, image_HW),
        "contrast_correlation": scores.correlation(*contrasts),
        "amplitude_ssim": scores.value_of(scores.image_scores(*amplitudes)["ssim"]),
        "phase_ssim": scores.value_of(scores.image_scores(*phases)["ssim"]),
    }


@dataclass(frozen=True, slots=True)
class ObjectEstimate:
    """The object of one part: 1 and without light where it has no pixels; light_YX: how much light
    fell on each, in any unit; origin: position of pixel [0, 0]; probe_MHW is in the file's units.
    """

    object_YX: NDArray[np.complexfloating]
    light_YX: NDArray[np.floating]
    probe_MHW: NDArray[np.complexfloating]
    origin: tuple[int, int] = (0, 0)

    def predict(self, scan: Scan, share: float) -> NDArray[np.float32]:
        """Return what it predicts for a scan's frames, (n, H, W), in the file's units.

        What is not illuminated by `share` of the most light is taken for the mean of what is.
        """
        known = illuminated(self.light_YX, share)
        thing = np.where(known, self.object_YX, self.object_YX[known].mean()).astype(np.complex64)
        return predict_amplitudes(thing, self.probe_MHW, scan.positions_n2, origin=self.origin)

    def lit_shares(self, scan: Scan, share: float) -> NDArray[np.float64]:
        """Return which share of the probe's power falls on illuminated pixels, for each frame."""
        known, side = illuminated(self.light_YX, share), scan.patch_px
        power = (np.abs(self.probe_MHW) ** 2).sum(axis=0)
        corners = np.rint(scan.positions_n2).astype(int) - self.origin
        found = [(power * known[r : r + side, c : c + side]).sum() for r, c in corners]
        return np.asarray(found, np.float64) / power.sum()


def read_estimates(scans: Mapping[str, Scan], *files: Arrays) -> list[dict[str, ObjectEstimate]]:
    """Return the object of every part that all have, for the arrays of each `objects.npz`, on the
    canvas that holds these objects and all windows, and `MARGIN_PX` round them."""
    parts = [part for part in scans if all(f"{part}_object" in arrays for arrays in files)]
    low = [np.rint(scan.positions_n2.min(axis=0)) for scan in scans.values()]
    high = [np.rint(scan.positions_n2.max(axis=0)) + scan.patch_px for scan in scans.values()]
    for arrays, part in product(files, parts):
        low.append(arrays[f"{part}_origin"])
        high.append(arrays[f"{part}_origin"] + arrays[f"{part}_object"].shape)
    first = np.min(low, axis=0).astype(int) - MARGIN_PX
    last = np.max(high, axis=0).astype(int) + MARGIN_PX

    def placed(arrays: Arrays, part: str) -> ObjectEstimate:
        thing, before = arrays[f"{part}_object"], arrays[f"{part}_origin"] - first
        border = list(zip(before, last - first - before - thing.shape, strict=True))
        light = np.pad(arrays[f"{part}_light"], border)
        thing = np.pad(thing, border, constant_values=1)
        return ObjectEstimate(thing, light, arrays[f"{part}_probe"], tuple(first.tolist()))

    return [{part: placed(arrays, part) for part in parts} for arrays in files]


def common_box(estimates: Sequence[ObjectEstimate], share: float) -> Box:
    """Return the largest box of a canvas all of whose pixels are illuminated in every estimate;
    `InputError` if it is too small to compare anything in."""
    known = np.all([illuminated(one.light_YX, share) for one in estimates], axis=0)
    box = largest_rectangle(known)
    rows, columns = known[box].shape
    if min(rows, columns) < _LEAST_PX:
        raise InputError(
            f"the parts of this measurement light only {rows} x {columns} px in common; make "
            "real_data.held_out smaller"
        )
    return box


def largest_rectangle(known: NDArray[np.bool_]) -> Box:
    """Return rows and columns of the largest rectangle of true pixels."""
    best, most = (slice(0, 0), slice(0, 0)), 0
    heights = np.zeros(known.shape[1] + 1, int)
    for bottom, row in enumerate(known):
        heights[:-1] = np.where(row, heights[:-1] + 1, 0)
        stack: list[tuple[int, int]] = []
        for column, height in enumerate(heights.tolist()):
            start = column
            while stack and stack[-1][1] >= height:
                start, tall = stack.pop()
                if (area := tall * (column - start)) > most:
                    best, most = (slice(bottom - tall + 1, bottom + 1), slice(start, column)), area
            stack.append((start, height))
    return best
