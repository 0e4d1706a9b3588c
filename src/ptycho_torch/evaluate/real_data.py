"""Score a reconstruction of a measurement without a ground truth (docs/own-data.md).

Letters: n frames, M probe modes, H rows, W columns, R rings.
"""

from collections.abc import Mapping
from dataclasses import replace
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
    ring_correlation,
    ring_frequencies,
    ssim,
    value_of,
)
from ptycho_torch.files import io
from ptycho_torch.physics.predict import frame_errors, predict_amplitudes, r_factor_of

SHOWN_FRAMES = 3
"""Held-out frames whose patterns are kept for pictures."""
# Photons: below it, the noise of a root is summed count by count; above, it is 1/4.
_FEW_PHOTONS = 60


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
        self.shares = self.rpie["train"].covered_shares(scans["held_out"], settings.lit_share)
        self.covered = self.shares >= settings.covered_share
        self.curves: dict[str, NDArray[Any]] = {}

    def metrics(self) -> dict[str, Any]:
        found: dict[str, Any] = {
            "box": [[side.start, side.stop] for side in self.box],
            "held_out": {
                "frames": len(self.covered),
                "covered": int(self.covered.sum()),
                "covered_share": float(self.shares.mean()),
            },
            "r_factor": self._r_factors(),
            "halves": self._halves("all" if self.is_rpie else "phase"),
            "agreement": self._agreement(),
        }
        return found | ({"baselines": self._baselines()} if self.is_rpie else {})

    def _r_factors(self) -> dict[str, Any]:
        """Return R of the frames that an object was made from, and of those that it was not."""
        train, held, share = self.scans["train"], self.scans["held_out"], self.known
        guessed = self.estimates["train"].predict(held, share)
        unseen = frame_errors(guessed, held.amplitude_nHW, held.good_1HW)
        crossed = [
            self.estimates[a].errors(self.scans[b], share)
            for a, b in (("half_a", "half_b"), ("half_b", "half_a"))
        ]
        # For pictures, evenly among the frames that count: no choice by their looks.
        index = np.flatnonzero(self.covered) if self.covered.any() else np.arange(len(held))
        places = (np.arange(SHOWN_FRAMES) + 0.5) / SHOWN_FRAMES * len(index)
        shown = index[np.unique(places.astype(int))]
        self.curves |= {"observed": held.amplitude_nHW[shown], "predicted": guessed[shown]}
        return {
            "train": _r_factor(self.estimates["train"].errors(train, share)),
            "held_out_object": _r_factor(unseen[self.covered]),
            "other_half": _r_factor(np.concatenate(crossed)),
            "held_out_stitched": _r_factor(self.estimates["held_out"].errors(held, share)),
            "held_out_patch": self._patches(held, shown),
        }

    def _patches(self, held: Scan, shown: NDArray[np.int64]) -> float | None:
        """Return R of what a network's patches predict for the frames that they come from."""
        if "held_out_patches" not in self.arrays:
            return None
        patches, members = self.arrays["held_out_patches"], self.arrays["held_out_members"]
        probe = self.estimates["held_out"].probe_MHW
        # A patch lies on the pixels of its own frame: nothing is moved.
        guessed = np.concatenate([predict_amplitudes(p, probe, np.zeros((1, 2))) for p in patches])
        first = [int(np.flatnonzero(members == frame)[0]) for frame in shown]
        self.curves["predicted_patch"] = guessed[first]
        seen = held.take(members)
        return _r_factor(frame_errors(guessed, seen.amplitude_nHW, seen.good_1HW))

    def _halves(self, free: Free) -> dict[str, Any]:
        """Return the Fourier ring correlation of the objects of two half scans."""
        first = self.estimates["half_a"].cut(self.box)
        wide = self.estimates["half_b"].cut(self.box, margin_px=MARGIN_PX)
        second, shift_px = register(first, wide, free=free)
        found: dict[str, Any] = {"shift_px": shift_px}
        frequencies, threshold = ring_frequencies(first.shape), half_bit(first.shape)
        self.curves |= {"frc_frequency": frequencies, "frc_half_bit": threshold}
        pairs = {"complex": (first, second), "phase": aligned_phases(first, second)}
        for kind, (one, other) in pairs.items():
            curve = ring_correlation(one, other)
            self.curves[f"frc_{kind}"] = curve
            found[kind] = crossings(first.shape, curve)
        return found

    def _agreement(self) -> dict[str, Any]:
        """Return how far the object of the training frames is from rPIE's."""
        reference = self.rpie["train"].cut(self.box)
        # As it is under a probe of rPIE's power: no pattern tells the two.
        ratio = self.estimates["train"].power / self.rpie["train"].power
        wide = self.estimates["train"].cut(self.box, margin_px=MARGIN_PX)
        image, _ = register(reference, wide * ratio**0.5, free="phase")
        self.curves |= {"reference": reference, "image": image}
        return {
            **similarity(reference, image),
            "constant": similarity(reference, np.full_like(reference, reference.mean())),
        }

    def _baselines(self) -> dict[str, Any]:
        """Return R of predictions that know no object, and of the photon noise alone."""
        train, one = self.scans["train"], self.estimates["train"]
        power = float(np.square(train.amplitude_nHW, dtype=np.float64).sum(axis=(1, 2)).mean())
        flat = np.full_like(one.object_YX, (power / one.power) ** 0.5)
        constant = replace(one, object_YX=flat, light_YX=np.ones_like(one.light_YX))
        mean = train.amplitude_nHW.mean(axis=0)[None]
        found: dict[str, Any] = {"noise": None}
        for part, counted in (("train", slice(None)), ("held_out", self.covered)):
            scan = self.scans[part]
            for name, guess in (("constant", constant.predict(scan, 0.0)), ("mean_frame", mean)):
                errors = frame_errors(guess, scan.amplitude_nHW, scan.good_1HW)
                found[f"{name}_{part}"] = _r_factor(errors[counted])
        if train.intensity_scale is not None:
            found["noise"] = _noise_r(one.predict(train, self.known), train, train.intensity_scale)
        return found


def _r_factor(errors_n2: NDArray[np.float64]) -> float | None:
    """Return the R factor; None if there is no frame, no light, or something is not finite."""
    found = r_factor_of(errors_n2)
    return found if np.isfinite(found) else None


def _noise_r(predicted_nHW: NDArray[Any], scan: Scan, scale: float) -> float:
    """Return R that photon noise alone would leave if a prediction were the truth.

    |sqrt(K) - sqrt(m)| of many photons is normal with variance 1/4; of few its mean square is
    taken for that of a normal variable.
    """
    amplitude = predicted_nHW.astype(np.float64) * scale
    expected = np.sqrt(noise_of_roots(amplitude**2)) * (2 / np.pi) ** 0.5
    observed = scan.amplitude_nHW.astype(np.float64) * scale
    return float(np.where(scan.used, expected, 0).sum() / np.where(scan.used, observed, 0).sum())


def noise_of_roots(photons: NDArray[np.float64]) -> NDArray[np.float64]:
    """Return the mean of (sqrt(K) - sqrt(m))^2 for K Poisson with the mean m: about 1/4 for many
    photons and 2 m for few."""
    from scipy.stats import poisson  # Slow to import.

    counts, means = np.arange(200)[:, None], np.linspace(0, _FEW_PHOTONS**0.5, 1201) ** 2
    table = (np.sqrt(counts) - np.sqrt(means)) ** 2 * poisson.pmf(counts, means)
    few = np.interp(np.minimum(photons, _FEW_PHOTONS), means, table.sum(axis=0))
    return np.where(photons < _FEW_PHOTONS, few, 0.25)


def similarity(reference_HW: NDArray[Any], image_HW: NDArray[Any]) -> dict[str, float | None]:
    """Return correlations and SSIMs of two registered complex images; None where undefined."""
    contrasts = (reference_HW - reference_HW.mean(), image_HW - image_HW.mean())
    amplitudes = (np.abs(one).astype(np.float64) for one in (reference_HW, image_HW))
    phases = (one.astype(np.float64) for one in aligned_phases(reference_HW, image_HW))
    return {
        "correlation": correlation(reference_HW, image_HW),
        "contrast_correlation": correlation(*contrasts),
        "amplitude_ssim": value_of(ssim(*amplitudes)),
        "phase_ssim": value_of(ssim(*phases)),
    }
