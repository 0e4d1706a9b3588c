"""Score a reconstruction of a measurement without a ground truth (docs/own-data.md).

Letters: n frames, M probe modes, H rows, W columns, R rings.
"""

from collections.abc import Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ptycho_torch.config.real_data import RealDataScores
from ptycho_torch.data.read import read_scan
from ptycho_torch.data.scan import Scan
from ptycho_torch.data.write import PARTS
from ptycho_torch.evaluate.align import MARGIN_PX, Free, aligned_phases, correlation, register
from ptycho_torch.evaluate.estimate import Arrays, common_box, read_estimates
from ptycho_torch.evaluate.scores import (
    crossings,
    half_bit,
    image_scores,
    ring_correlation,
    ring_frequencies,
    value_of,
)
from ptycho_torch.files import io
from ptycho_torch.physics.predict import predict_amplitudes, r_factor

SHOWN_FRAMES = 3
"""Held-out frames whose patterns are kept for pictures."""


def evaluate_measurement(
    settings: RealDataScores,
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
        scored = _Scoring(settings, scans, arrays, standard)
        metrics |= scored.metrics()
        curves = scored.curves
    io.write_npz(outputs["curves"], curves)
    io.write_json(outputs["metrics"], metrics)


class _Scoring:
    """The scores of one reconstruction; `curves` collects what figures draw."""

    def __init__(
        self, settings: RealDataScores, scans: Mapping[str, Scan], arrays: Arrays, standard: Arrays
    ) -> None:
        self.known, self.scans, self.arrays = settings.known_share, scans, arrays
        self.is_rpie = arrays is standard
        self.rpie, self.estimates = read_estimates(scans, standard, arrays)
        compared = [self.rpie[part] for part in ("train", "half_a", "half_b")]
        self.box = common_box(compared, settings.lit_share)
        self.wide = tuple(slice(b.start - MARGIN_PX, b.stop + MARGIN_PX) for b in self.box)
        self.lit = self.rpie["train"].lit_shares(scans["held_out"], settings.lit_share)
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
        fitted, guessed = (self.estimates["train"].predict(s, self.known) for s in (train, held))
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
        second, shift_px = register(first, wide, free=free)
        curve = ring_correlation(first, second)
        self.curves |= {
            "frc": curve,
            "frc_frequency": ring_frequencies(first.shape),
            "frc_half_bit": half_bit(first.shape),
        }
        return {"shift_px": shift_px, **crossings(first.shape, curve)}

    def _agreement(self) -> dict[str, Any]:
        """Return how far the object of the training frames is from rPIE's."""
        own, its = self.estimates["train"], self.rpie["train"]
        reference = its.object_YX[self.box]
        # As it is under a probe of rPIE's power: no pattern tells the two.
        ratio = np.linalg.norm(own.probe_MHW) / np.linalg.norm(its.probe_MHW)
        image, _ = register(reference, own.object_YX[self.wide] * ratio, free="phase")
        self.curves |= {"reference": reference, "image": image}
        return {
            **similarity(reference, image),
            "constant": similarity(reference, np.full_like(reference, reference.mean())),
        }

    def _baselines(self) -> dict[str, Any]:
        """Return R of a constant object of the frames' power, and of the photon noise alone."""
        train, held, one = self.scans["train"], self.scans["held_out"], self.estimates["train"]
        empty = np.ones((train.patch_px, train.patch_px))
        flat = predict_amplitudes(empty, one.probe_MHW, np.zeros((1, 2)))
        flat = flat * np.linalg.norm(train.amplitude_nHW) / np.linalg.norm(flat) / len(train) ** 0.5
        found = {
            "constant_train": _r_factor(flat, train),
            "constant_held_out": _r_factor(flat, held),
            "noise": None,
        }
        if (scale := train.intensity_scale) is not None:
            root = scale * one.predict(train, self.known).astype(np.float64)
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
    phases = (one.astype(np.float64) for one in aligned_phases(reference_HW, image_HW))
    return {
        "correlation": correlation(reference_HW, image_HW),
        "contrast_correlation": correlation(*contrasts),
        "amplitude_ssim": value_of(image_scores(*amplitudes)["ssim"]),
        "phase_ssim": value_of(image_scores(*phases)["ssim"]),
    }
