"""Which conventions explain a file best: stage by stage, and no answer where two do equally well.

1. Zero frequency and values, from the frames alone where they show it.
2. Axes, signs and origin of the positions: by the patterns that the file's own probe and object
   predict; without an object, or with one that predicts nothing, by quick reconstructions.
3. Half pixels, where there is an object: without one they move all positions alike.

Letters: n frames, M probe modes, H rows, W columns of a frame.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from itertools import product
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from ptycho_torch.config.scan import RpieSettings, ScanConventions
from ptycho_torch.data.prepare import corners_of, cropped, light_is_at, scan_of, values_of
from ptycho_torch.data.read import read_raw
from ptycho_torch.data.scan import Array, Raw, Scan
from ptycho_torch.physics.predict import predict_amplitudes
from ptycho_torch.reconstruct.rpie import reconstruct
from ptycho_torch.runtime.streams import named_stream

# Conventions under this relative error explain frames; above it, nothing.
_EXPLAINS = 0.5
# Above this share of the error with shuffled positions, the positions explain nothing.
_SHUFFLED = 0.75
# By how much the error of the next best must be larger.
_PREDICTED_RATIO, _RECONSTRUCTED_RATIO = 1.02, 1.1
# A probe this like its own twin cannot tell the sign of both axes at once.
_TWIN = 0.98
_ORIGINS = ("corner", "centre", "middle")

# Frames that are predicted, and those that a quick reconstruction takes; its detector, pixels:
# enough to tell conventions apart.
PREDICTED_FRAMES, RECONSTRUCTED_FRAMES, _QUICK_PX = 64, 64, 64
_QUICK = RpieSettings(iterations=12, batch_size=4, probe_from_iteration=3)

_AS_LAYOUT = "as the layout has it"

Variants = list[ScanConventions]
Stage = dict[str, Any]


@dataclass(frozen=True, slots=True)
class Outcome:
    """What conventions give: the relative error of the amplitudes, infinite where they are
    impossible, and why; errors_n: squared error of each frame."""

    conventions: ScanConventions
    error: float = np.inf
    why: str | None = None
    errors_n: NDArray[np.float64] | None = None

    def told_from(self, other: "Outcome", ratio: float) -> bool:
        """Return whether this explains the same frames better than another: by the ratio of their
        errors, and beyond chance, by five standard errors of the squared errors' mean difference.
        """
        if self.errors_n is None or other.errors_n is None:
            return self.errors_n is not None
        if other.error < ratio * self.error:
            return False
        gain = other.errors_n - self.errors_n
        return bool(gain.mean() > 5 * gain.std() / len(gain) ** 0.5)


def predicted(raw: Raw, conventions: ScanConventions) -> Outcome:
    """Return how well the file's own probe and object predict its frames."""
    assert raw.object_YX is not None and raw.probe_MHW is not None
    corners = corners_of(raw, conventions)
    low, high = np.rint(corners.min(axis=0)), np.rint(corners.max(axis=0))
    if (low < 0).any() or (high + raw.frames_nHW.shape[-1] > raw.object_YX.shape).any():
        return Outcome(conventions, why="windows reach out of the object")
    # Some frames, from first to last.
    spread = np.linspace(0, len(corners) - 1, PREDICTED_FRAMES).round().astype(int)
    scan = scan_of(raw, conventions, corners, np.unique(spread))
    guess = predict_amplitudes(raw.object_YX, raw.probe_MHW, scan.positions_n2)
    return _outcome(conventions, scan, guess)


def reconstructed(raw: Raw, conventions: ScanConventions) -> Outcome:
    """Return how well some neighbouring frames can be explained by one object."""
    corners = corners_of(raw, conventions)
    distance = np.square(corners - np.median(corners, axis=0)).sum(axis=1)
    nearest = np.sort(np.argsort(distance, kind="stable")[:RECONSTRUCTED_FRAMES])
    scan = scan_of(raw, conventions, corners, nearest)
    scan = cropped(scan, min(scan.patch_px, _QUICK_PX))
    if scan.probe_MHW is None:
        # The wave of flat phase in the detector that has the frames' mean power.
        mean = np.sqrt(np.square(scan.amplitude_nHW).mean(axis=0))
        wave = np.fft.fftshift(np.fft.ifft2(np.fft.ifftshift(mean), norm="ortho"))
        scan = replace(scan, probe_MHW=wave[None].astype(np.complex64))
    made = reconstruct(scan, _QUICK)
    return _outcome(conventions, scan, made.predict(scan.positions_n2))


def _outcome(conventions: ScanConventions, scan: Scan, predicted_nHW: Array) -> Outcome:
    seen = np.where(scan.used, scan.amplitude_nHW, 0).astype(np.float64)
    made = np.where(scan.used, predicted_nHW, 0).astype(np.float64)
    power = float(np.square(made).sum())
    # The file's probe may be in other units: one factor for all frames.
    made *= float((seen * made).sum()) / power if power > 0 else 0.0
    errors = np.square(seen - made).sum(axis=(1, 2)) / float(np.square(seen).sum())
    return Outcome(conventions, float(errors.sum()) ** 0.5, errors_n=errors)


def twin_similarity(probe_MHW: Array) -> float:
    """Return how like the first mode is to its own twin, conj(P(-r)), at the best shift: 0 to 1,
    where the sign of both axes cannot be told, since the turned, conjugated object fits too."""
    wave = np.fft.fft2(probe_MHW[0].astype(np.complex128))
    # The spectrum of conj(P(-r)) is conj of that of P; correlation of the two is that of P * P.
    overlap = np.abs(np.fft.ifft2(wave * wave)).max()
    return float(overlap / np.square(np.abs(probe_MHW[0]), dtype=np.float64).sum())


def flags(conventions: ScanConventions) -> str:
    """Return the command-line flags that give conventions; none for what is at its default."""
    given = conventions.model_dump(exclude_defaults=True).items()
    words = [f"--{key.replace('_', '-')}" + ("" if v is True else f" {v}") for key, v in given]
    return " ".join(words)


def table(report: dict[str, Any]) -> str:
    """Return the stages as text."""
    lines = []
    for stage in report["stages"]:
        lines.append(f"{stage['question']}: {stage['answer']}  ({stage['how']})")
        for one in stage["readings"]:
            result = one["impossible"] or f"{one['error']:10.4f}"
            lines.append(f"  {result}  {one['flags'] or _AS_LAYOUT}")
    return "\n".join(lines)


def check_file(path: str | Path, given: ScanConventions) -> dict[str, Any]:
    """Try the conventions of a file; return what `check --json` prints (docs/reference/files.md).

    Settings that are not at their defaults stay as they are. `InputError` as `read_scan`.
    """
    torch.set_num_threads(1)  # Small frames gain nothing by more.
    given = given.model_copy(update={"patch_px": None})
    raw = read_raw(path, given)
    stages, variants = _from_frames(raw, given)
    known = raw.object_YX is not None and raw.probe_MHW is not None
    found = _by_prediction(raw, stages, variants) if known else None
    best, doubt = found or _by_reconstruction(replace(raw, object_YX=None), stages, variants)
    return {
        "file": raw.source,
        "decided": not doubt,
        "doubt": doubt or None,
        "reading": best.model_dump(exclude_defaults=True),
        "flags": flags(best),
        "stages": stages,
    }


def _stage(question: str, how: str, answer: str = "", outcomes: Sequence[Outcome] = ()) -> Stage:
    """Return one question: how it was settled, the answer (empty: the first of what was tried),
    and what was tried, best first."""
    readings: list[dict[str, Any]] = [
        {"flags": flags(o.conventions), "error": None if o.why else o.error, "impossible": o.why}
        for o in outcomes
    ]
    answer = answer or readings[0]["flags"] or _AS_LAYOUT
    return {"question": question, "how": how, "answer": answer, "readings": readings}


def _from_frames(raw: Raw, given: ScanConventions) -> tuple[list[Stage], Variants]:
    """Settle what frames show by themselves; return the conventions that remain, with rows and
    columns swapped and mirrored in all eight ways."""
    places, values = [str(given.zero_frequency)], [str(given.values)]
    if places == ["auto"]:
        seen = light_is_at(raw.frames_nHW, raw.good_nHW)
        places = [seen] if seen else ["centre", "corner"]
    if values == ["auto"]:
        counts = raw.layout == "cxi" or values_of(raw.frames_nHW) == "intensity"
        values = ["intensity"] if counts else ["amplitude", "intensity"]
    stages = [
        _stage("zero frequency", "as given, else where the light is", " or ".join(places)),
        _stage("values", "as given, else whole numbers are counts", " or ".join(values)),
    ]
    choices: dict[str, list[Any]] = {"zero_frequency": places, "values": values}
    for key in ("swap_axes", "flip_columns", "flip_rows"):
        choices[key] = [True] if getattr(given, key) else [False, True]
    return stages, [
        given.model_copy(update=dict(zip(choices, chosen, strict=True)))
        for chosen in product(*choices.values())
    ]


def _by_prediction(
    raw: Raw, stages: list[Stage], variants: Variants
) -> tuple[ScanConventions, str] | None:
    """Return the best conventions by the file's own object, and why they are not the only ones;
    None if that decides nothing, and `stages` gets why."""
    candidates = [
        variant.model_copy(update={"origin": origin})
        for variant in variants
        for origin in (_ORIGINS if variant.origin == "auto" else [variant.origin])
    ]
    how = f"{PREDICTED_FRAMES} frames predicted by the file's probe and object"
    tried, doubt = _ranked(predicted, raw, candidates, _PREDICTED_RATIO)
    best = tried[0]
    if best.error > _EXPLAINS or doubt:
        why = "tells no conventions apart" if doubt else best.why or "does not predict the frames"
        stages.append(_stage("object", how, f"left aside: {why}", tried[:3]))
        return None
    stages.append(_stage("axes, signs and origin of positions", how, outcomes=tried))
    if best.conventions.half_pixel == 0:
        halves = [best.conventions.model_copy(update={"half_pixel": h}) for h in (-1, 0, 1)]
        tried, doubt = _ranked(predicted, raw, halves, _PREDICTED_RATIO)
        stages.append(_stage("half pixel", how, outcomes=tried))
    return tried[0].conventions, doubt


def _by_reconstruction(
    raw: Raw, stages: list[Stage], variants: Variants
) -> tuple[ScanConventions, str]:
    """Return the best conventions by what one object can explain, and why they are in doubt."""
    tried, doubt = _ranked(reconstructed, raw, variants, _RECONSTRUCTED_RATIO)
    best = tried[0]
    frames = min(RECONSTRUCTED_FRAMES, len(raw.frames_nHW))
    probe = "the file's probe" if raw.probe_MHW is not None else "a probe made from the frames"
    # What is left where the positions say nothing: their order is random, always the same.
    order = named_stream(0, "shuffled positions").permutation(len(raw.positions_n2))
    mixed = replace(raw, positions_n2=raw.positions_n2[order])
    shuffled = reconstructed(mixed, best.conventions).error
    compare = f"shuffled positions err by {shuffled:.3g}"
    how = f"{frames} neighbouring frames reconstructed from {probe}; {compare}"
    stages.append(_stage("axes and signs of positions", how, outcomes=tried))
    # Without a probe of the file's, the reconstruction starts from one that is its own twin; and
    # chance may favour one of two twins: what the frames cannot say is minded before the errors.
    if raw.probe_MHW is None or twin_similarity(raw.probe_MHW) > _TWIN:
        twins = (
            "cannot be told apart: both axes mirrored and neither; the turned, conjugated object "
            "fits as well, and the file has no object, and no probe unlike its own twin, to rule "
            "it out"
        )
        doubt = f"{doubt}; {twins}" if doubt else twins
    if best.error > min(_EXPLAINS, _SHUFFLED * shuffled):
        doubt = (
            f"no conventions explain the frames: the best errs by {best.error:.3g}, {compare}; are "
            "these the positions, the pixel size and the probe of these frames, in their order, "
            f"and is it a far field? {doubt}"
        ).rstrip()
    return best.conventions, doubt


def _ranked(
    attempt: Callable[[Raw, ScanConventions], Outcome], raw: Raw, candidates: Variants, ratio: float
) -> tuple[list[Outcome], str]:
    """Return what candidates give, best first, and why the first is not the only one, or ''."""
    ranked = sorted((attempt(raw, one) for one in candidates), key=lambda o: o.error)
    best = ranked[0]
    equal = [other for other in ranked[1:] if not best.told_from(other, ratio)]
    if not equal or best.why:
        return ranked, ""
    names = [f"{flags(o.conventions) or _AS_LAYOUT} ({o.error:.4g})" for o in [best, *equal]]
    return ranked, f"cannot be told apart: {'; '.join(names)}"
