"""Score a reconstruction of a measurement without a ground truth (docs/real-data.md).

Letters: n frames, M probe modes, H rows, W columns, R rings.
"""

import logging
from collections.abc import Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ptycho_torch.config.real_data import RealDataScores
from ptycho_torch.data.parts import PARTS, read_part
from ptycho_torch.data.predict import noise_of_roots
from ptycho_torch.data.scan import Scan
from ptycho_torch.evaluate.align import aligned_phases
from ptycho_torch.evaluate.frc import (
    crossing,
    half_bit,
    ring_correlation,
    ring_frequencies,
)
from ptycho_torch.evaluate.layers import (
    Layer,
    covered_shares,
    lit_box,
    predicted,
    scan_errors,
)
from ptycho_torch.evaluate.register import MARGIN_PX, Free, register
from ptycho_torch.evaluate.scores import Undefined, ssim
from ptycho_torch.files import io
from ptycho_torch.physics.predict import predict_amplitudes, r_factor_of
from ptycho_torch.runtime.errors import InputError

logger = logging.getLogger(__name__)
Arrays = Mapping[str, NDArray[Any]]

SHOWN_FRAMES = 3
"""Held-out frames whose patterns are kept for pictures."""


def evaluate_measurement(
    settings: RealDataScores,
    *,
    objects: io.PathLike,
    report: io.PathLike,
    rpie: Mapping[str, io.PathLike],
    parts: Mapping[str, io.PathLike],
    same_probe: bool,
    outputs: Mapping[str, io.PathLike],
) -> None:
    """Score one reconstruction, rPIE's or a network's.

    Parameters
    ----------
    objects, report
        Of the reconstruction.
    rpie
        `objects` and `report` of rPIE: where all are compared, and with what.
    parts
        Paths of `PARTS`.
    same_probe
        Whether a network's probe is rPIE's: only a constant phase is free between them then.
    outputs
        Paths of `metrics` (JSON) and `curves` (NPZ).

    Raises
    ------
    InputError
        If rPIE failed, so that there is nothing to compare with.
    """
    facts, reference = io.read_json(report), io.read_json(rpie["report"])
    if reference["outcome"] != "completed":
        raise InputError(
            f"{rpie['report']}: rPIE ended as {reference['outcome']}; nothing to score"
        )
    metrics = {key: facts[key] for key in ("engine", "outcome", "failure")}
    curves: dict[str, NDArray[Any]] = {}
    if facts["outcome"] == "completed":
        scans = {part: read_part(parts[part]) for part in PARTS}
        standard = io.read_npz(rpie["objects"])
        arrays = standard if facts["engine"] == "rPIE" else io.read_npz(objects)
        scored = _Scoring(settings, scans, arrays, standard, facts["engine"] == "rPIE")
        metrics |= scored.metrics(same_probe)
        curves = scored.curves
    io.write_npz(outputs["curves"], curves)
    io.write_json(outputs["metrics"], metrics)


class _Scoring:
    """The scores of one reconstruction; `curves` collects what figures draw."""

    def __init__(
        self,
        settings: RealDataScores,
        scans: Mapping[str, Scan],
        arrays: Arrays,
        standard: Arrays,
        is_rpie: bool,
    ) -> None:
        self.share, self.known = settings.lit_share, settings.known_share
        self.scans, self.arrays, self.is_rpie = scans, arrays, is_rpie
        self.layers = {part: Layer.of(arrays, part) for part in PARTS}
        self.rpie = {part: Layer.of(standard, part) for part in PARTS}
        self.box = lit_box([self.rpie[p] for p in ("train", "half_a", "half_b")], self.share)
        shares = covered_shares(self.rpie["train"], scans["held_out"], self.share)
        self.covered = shares >= settings.covered_share
        self.curves: dict[str, NDArray[Any]] = {"covered_shares": shares}

    def metrics(self, same_probe: bool) -> dict[str, Any]:
        rows, columns = self.box
        found: dict[str, Any] = {
            "box": [[rows.start, rows.stop], [columns.start, columns.stop]],
            "held_out": {
                "frames": len(self.covered),
                "covered": int(self.covered.sum()),
                "covered_share": float(self.curves["covered_shares"].mean()),
            },
            "r_factor": self._r_factors(),
        }
        free: Free = "all" if self.is_rpie else "phase"
        found["halves"] = self._halves(free)
        against: Free = "phase" if same_probe or self.is_rpie else "all"
        found["agreement"] = self._agreement(against)
        if self.is_rpie:
            found["baselines"] = self._baselines()
        return found

    def _r_factors(self) -> dict[str, Any]:
        """Return R of the frames that an object was made from, and of those that it was not."""
        train = scan_errors(predicted(self.layers["train"], self.scans["train"], self.known),
                             self.scans["train"])  # fmt: skip
        held = self.scans["held_out"]
        guessed = predicted(self.layers["train"], held, self.known)
        unseen = scan_errors(guessed, held)
        own = scan_errors(predicted(self.layers["held_out"], held, self.known), held)
        crossed = [
            scan_errors(predicted(self.layers[a], self.scans[b], self.known), self.scans[b])
            for a, b in (("half_a", "half_b"), ("half_b", "half_a"))
        ]
        self.curves |= {
            "train_positions": self.scans["train"].positions_n2,
            "train_r": train[:, 0] / train[:, 1],
            "held_out_positions": held.positions_n2,
            "held_out_r": np.where(self.covered, unseen[:, 0] / unseen[:, 1], np.nan),
        }
        shown = self._shown()
        self.curves |= {
            "shown": shown,
            "observed": held.amplitude_nHW[shown],
            "predicted": guessed[shown],
        }
        found: dict[str, Any] = {
            "train": _r_factor(train),
            "held_out_object": _r_factor(unseen[self.covered]),
            "other_half": _r_factor(np.concatenate(crossed)),
            "held_out_stitched": _r_factor(own),
            "held_out_patch": self._patches(held, shown),
        }
        return found

    def _patches(self, held: Scan, shown: NDArray[np.int64]) -> float | None:
        """Return R of what each patch of a network predicts for the frame that it was drawn
        from."""
        if "held_out_patches" not in self.arrays:
            return None
        patches, members = self.arrays["held_out_patches"], self.arrays["held_out_members"]
        probe = self.layers["held_out"].probe_MHW
        # A patch lies on the pixels of its own frame: nothing is moved.
        guessed = np.concatenate([predict_amplitudes(p, probe, np.zeros((1, 2))) for p in patches])
        first = [int(np.flatnonzero(members == frame)[0]) for frame in shown]
        self.curves["predicted_patch"] = guessed[first]
        return _r_factor(scan_errors(guessed, held, members))

    def _shown(self) -> NDArray[np.int64]:
        """Return frames for pictures, evenly among those that count: no choice by their looks."""
        index = np.flatnonzero(self.covered) if self.covered.any() else np.arange(len(self.covered))
        places = (np.arange(SHOWN_FRAMES) + 0.5) / SHOWN_FRAMES * len(index)
        return index[np.unique(places.astype(int))]

    def _halves(self, free: Free) -> dict[str, Any]:
        """Return the Fourier ring correlation of the objects of two half scans."""
        first = self.layers["half_a"].cut(self.box)
        moved = register(first, self.layers["half_b"].cut(self.box, margin_px=MARGIN_PX), free=free)
        shape = (first.shape[0], first.shape[1])
        frequencies, threshold = ring_frequencies(shape), half_bit(shape)
        phases = aligned_phases(first, moved.image_HW)
        pairs = {"complex": (first, moved.image_HW), "phase": phases}
        found: dict[str, Any] = {
            "free": free,
            "shift_px": list(moved.shift_px),
            "tilt_rad_per_px": list(moved.tilt),
            "correlation": _correlation(first, moved.image_HW),
        }
        self.curves |= {"frc_frequency": frequencies, "frc_half_bit": threshold}
        for kind, (one, other) in pairs.items():
            curve = ring_correlation(one, other)
            self.curves[f"frc_{kind}"] = curve
            found[kind] = {
                "half_bit": crossing(frequencies, curve - threshold, 0.0),
                "half": crossing(frequencies, curve, 1 / 2),
                "seventh": crossing(frequencies, curve, 1 / 7),
                "mean": float(curve.mean()),
            }
        return found

    def _agreement(self, free: Free) -> dict[str, Any]:
        """Return how far the object of the training frames is from rPIE's."""
        reference = self.rpie["train"].cut(self.box)
        wide = self.layers["train"].cut(self.box, margin_px=MARGIN_PX)
        moved = register(reference, self._in_units(wide), free=free)
        self.curves |= {"reference": reference, "image": moved.image_HW}
        return {
            "free": free,
            "shift_px": list(moved.shift_px),
            "tilt_rad_per_px": list(moved.tilt),
            **_likeness(reference, moved.image_HW),
            "constant": _likeness(reference, np.full_like(reference, reference.mean())),
        }

    def _in_units(self, image: NDArray[Any]) -> NDArray[Any]:
        """Return an object as it is under a probe of rPIE's power: no pattern tells the two."""
        powers = [
            float((np.abs(layers["train"].probe_MHW) ** 2).sum())
            for layers in (self.layers, self.rpie)
        ]
        return image * (powers[0] / powers[1]) ** 0.5

    def _baselines(self) -> dict[str, Any]:
        """Return R of predictions that know no object, and of the photon noise alone."""
        train, held = self.scans["train"], self.scans["held_out"]
        flat = _flat(self.layers["train"], train)
        mean = train.amplitude_nHW.mean(axis=0)
        found: dict[str, Any] = {"noise": None}
        for name, frames in (("constant", None), ("mean_frame", mean)):
            for part, scan in (("train", train), ("held_out", held)):
                guess = predicted(flat, scan, 0.0) if frames is None else frames[None]
                errors = scan_errors(guess, scan)
                errors = errors if part == "train" else errors[self.covered]
                found[f"{name}_{part}"] = _r_factor(errors)
        if train.intensity_scale is not None:
            found["noise"] = _noise_r(self.layers["train"], train, self.known)
        return found


def _r_factor(errors_n2: NDArray[np.float64]) -> float | None:
    """Return the R factor; None if there is no frame, no light, or something is not finite."""
    found = r_factor_of(errors_n2)
    return found if np.isfinite(found) else None


def _flat(layer: Layer, scan: Scan) -> Layer:
    """Return a constant object whose patterns have the scan's mean power."""
    power = float(np.square(scan.amplitude_nHW, dtype=np.float64).sum(axis=(1, 2)).mean())
    level = (power / float((np.abs(layer.probe_MHW) ** 2).sum())) ** 0.5
    thing = np.full(layer.object_YX.shape, level, np.complex64)
    return Layer(thing, layer.origin, np.ones_like(layer.light_YX), layer.probe_MHW)


def _noise_r(layer: Layer, scan: Scan, share: float) -> float:
    """Return R that photon noise alone would leave if a layer's prediction were the truth.

    |sqrt(K) - sqrt(m)| of many photons is normal with variance 1/4; of few its mean square is
    taken for that of a normal variable.
    """
    assert scan.intensity_scale is not None
    amplitude = predicted(layer, scan, share).astype(np.float64) * scan.intensity_scale
    deviation = np.sqrt(noise_of_roots(amplitude**2))
    expected = deviation * (2 / np.pi) ** 0.5
    used = np.ones((1, 1, 1), bool) if scan.good_1HW is None else scan.good_1HW
    observed = scan.amplitude_nHW.astype(np.float64) * scan.intensity_scale
    return float(np.where(used, expected, 0).sum() / np.where(used, observed, 0).sum())


def _likeness(reference: NDArray[Any], image: NDArray[Any]) -> dict[str, Any]:
    phases = aligned_phases(reference, image)
    pairs = {"amplitude": (np.abs(reference), np.abs(image)), "phase": phases}
    found: dict[str, Any] = {
        "correlation": _correlation(reference, image),
        "contrast_correlation": _correlation(reference - reference.mean(), image - image.mean()),
    }
    for kind, (one, other) in pairs.items():
        score = ssim(one.astype(np.float64), other.astype(np.float64))
        found[f"{kind}_ssim"] = None if isinstance(score, Undefined) else score
    return found


def _correlation(first: NDArray[Any], second: NDArray[Any]) -> float | None:
    """Return |<a, b>| / (|a| |b|); None if either is zero or not finite."""
    size = float(np.linalg.norm(first) * np.linalg.norm(second))
    return float(abs(np.vdot(first, second)) / size) if 0 < size < np.inf else None
