"""Which reading explains a file best: stage by stage, and no answer where two are equally good.

1. Zero frequency and values, from the frames alone where they show it.
2. Axes, signs and origin of the positions: by the patterns that the file's own probe and object
   predict; without an object, or with one that predicts nothing, by quick reconstructions.
3. Half pixels, where there is an object: without one they move all positions alike.
"""

from dataclasses import dataclass, replace
from itertools import product
from pathlib import Path
from typing import Literal

from ptycho_torch.config.scan import ScanConventions
from ptycho_torch.data.canonical import values_of
from ptycho_torch.data.prepare import light_is_at
from ptycho_torch.data.raw import Raw
from ptycho_torch.data.read import read_raw
from ptycho_torch.reconstruct.check.flags import label
from ptycho_torch.reconstruct.check.trial import (
    PREDICTED_FRAMES,
    RECONSTRUCTED_FRAMES,
    Outcome,
    predicted,
    reconstructed,
    told_apart,
    twin_likeness,
)

# A reading under this relative error explains frames; one above it, nothing.
_EXPLAINS = 0.5
# By how much the error of the next best reading must be larger.
_PREDICTED_RATIO, _RECONSTRUCTED_RATIO = 1.02, 1.1
_TWIN = 0.98


@dataclass(frozen=True, slots=True)
class Stage:
    """One question: what was tried, how well it explains the frames, and what follows."""

    question: str
    how: str
    outcomes: tuple[Outcome, ...]
    answer: str


@dataclass(frozen=True, slots=True)
class Report:
    """What was found.

    reading: the best one; doubt: why it is not the only one, empty if it is.
    """

    source: str
    stages: tuple[Stage, ...]
    reading: ScanConventions
    doubt: str


def check_file(path: str | Path, told: ScanConventions) -> Report:
    """Try the readings of a file.

    Parameters
    ----------
    path
        File of measurements.
    told
        What is known: settings that are not at their defaults stay as they are.

    Raises
    ------
    InputError
        If the file cannot be read at all.
    """
    told = told.model_copy(update={"patch_px": None})
    raw = read_raw(path, told)
    stages, variants = _from_frames(raw, told)
    has_both = raw.object_YX is not None and raw.probe_MHW is not None
    if has_both:
        found = _by_prediction(raw, stages, variants)
        if isinstance(found, Report):
            return found
        report = _by_reconstruction(replace(raw, object_YX=None), [*stages, found], variants)
        if not report.doubt and predicted(raw, report.reading).error is None:
            reason = "under the best reading, windows reach out of the file's object"
            return replace(report, doubt=f"{reason}; give --origin or --units, or mend the file")
        return report
    return _by_reconstruction(raw, stages, variants)


def _from_frames(raw: Raw, told: ScanConventions) -> tuple[list[Stage], list[ScanConventions]]:
    """Settle what frames show by themselves; return readings that remain."""
    places: list[str] = [told.zero_frequency]
    if told.zero_frequency == "auto":
        seen = light_is_at(raw.frames_nHW)
        places = [seen] if seen else ["centre", "corner"]
    values: list[str] = [told.values]
    if told.values == "auto":
        whole = values_of(raw.frames_nHW) == "intensity"
        values = ["intensity"] if whole or raw.layout == "cxi" else ["amplitude", "intensity"]
    where = "where the light is" if len(places) == 1 else "the light does not say"
    said = "not whole numbers" if len(values) == 2 else "whole numbers are counts"
    if raw.layout == "cxi":
        said = "as CXI has it"
    stages = [
        Stage(
            "zero frequency",
            "as told" if told.zero_frequency != "auto" else where,
            (),
            " or ".join(places),
        ),
        Stage("values", "as told" if told.values != "auto" else said, (), " or ".join(values)),
    ]
    variants = [
        told.model_copy(update={"zero_frequency": place, "values": value})
        for place, value in product(places, values)
    ]
    return stages, variants


def _axes(raw: Raw, reading: ScanConventions) -> list[ScanConventions]:
    """Return a reading with rows and columns swapped and mirrored in all eight ways."""
    # The sign of both axes at once is CXI's own setting.
    both: dict[str, object] = {"flip_rows": True, "flip_columns": True}
    both = {"translation_sign": -1} if raw.layout == "cxi" else both
    mirrors: list[dict[str, object]] = [{}, {"flip_rows": True}, {"flip_columns": True}, both]
    swaps: list[dict[str, object]] = [{}, {"swap_axes": True}]
    found: list[ScanConventions] = []
    for swap, mirror in product(swaps, mirrors):
        candidate = reading.model_copy(update=swap | mirror)
        if candidate not in found:
            found.append(candidate)
    return found


def _by_prediction(
    raw: Raw, stages: list[Stage], variants: list[ScanConventions]
) -> Report | Stage:
    """Decide by the file's own object; a stage that says why, if that decides nothing."""
    origins: tuple[Literal["corner", "centre", "middle"], ...] = ("corner", "centre", "middle")
    candidates = [
        turned.model_copy(update={"origin": origin} if turned.origin == "auto" else {})
        for variant in variants
        for turned in _axes(raw, variant)
        for origin in (origins if turned.origin == "auto" else origins[:1])
    ]
    outcomes = _ranked([predicted(raw, candidate) for candidate in candidates])
    best, doubt = outcomes[0], _doubt(outcomes, _PREDICTED_RATIO)
    how = f"{PREDICTED_FRAMES} frames predicted by the file's probe and object"
    if best.error is None:
        return Stage("object", how, tuple(outcomes), "no window lies in it: left aside")
    if best.error > _EXPLAINS or doubt:
        why = "tells no readings apart" if doubt else "does not predict the frames"
        return Stage("object", how, tuple(outcomes[:3]), f"{why}: left aside")
    stages = [*stages, _stage("axes, signs and origin of positions", how, outcomes)]
    if best.reading.half_pixel == 0:
        halves = [best.reading.model_copy(update={"half_pixel": half}) for half in (-1, 0, 1)]
        tried = _ranked([predicted(raw, reading) for reading in halves])
        doubt = doubt or _doubt(tried, _PREDICTED_RATIO)
        stages.append(_stage("half pixel", how, tried))
        best = tried[0]
    return Report(raw.source, tuple(stages), best.reading, doubt)


def _by_reconstruction(raw: Raw, stages: list[Stage], variants: list[ScanConventions]) -> Report:
    """Decide by what one object can explain."""
    candidates = [turned for variant in variants for turned in _axes(raw, variant)]
    outcomes = _ranked([reconstructed(raw, candidate) for candidate in candidates])
    frames = min(RECONSTRUCTED_FRAMES, len(raw.frames_nHW))
    probe = "the file's probe" if raw.probe_MHW is not None else "a probe made from the frames"
    how = f"{frames} neighbouring frames reconstructed from {probe}"
    stages = [*stages, _stage("axes and signs of positions", how, outcomes)]
    if stages[-2].question == "object":
        left = "not tried: they matter to the object that was left aside"
    else:
        left = "no matter: without an object they move all positions alike"
    stages.append(Stage("origin, half pixel", "no object", (), left))
    best = outcomes[0]
    # Chance may favour one of two twins: what the frames cannot say is minded before the errors.
    doubt = _twin_doubt(raw) or _doubt(outcomes, _RECONSTRUCTED_RATIO)
    if best.error is None or best.error > _EXPLAINS:
        error = (
            "none could be tried" if best.error is None else f"the best errs by {best.error:.3g}"
        )
        doubt = f"no reading explains the frames ({error})"
    return Report(raw.source, tuple(stages), best.reading, doubt)


def _twin_doubt(raw: Raw) -> str:
    """Return why the sign of both axes at once is open, if it is."""
    both = (
        "--translation-sign 1 and -1" if raw.layout == "cxi" else "both axes mirrored and neither"
    )
    if raw.probe_MHW is None:
        return (
            f"cannot be told apart: {both}; the turned, conjugated object fits as well, and the "
            "file has no probe or object that would rule it out"
        )
    likeness = twin_likeness(raw.probe_MHW)
    if likeness > _TWIN:
        return (
            f"cannot be told apart: {both}; the turned, conjugated object fits as well, since the "
            f"probe is its own twin (likeness {likeness:.3f})"
        )
    return ""


def _ranked(outcomes: list[Outcome]) -> list[Outcome]:
    return sorted(outcomes, key=lambda found: float("inf") if found.error is None else found.error)


def _doubt(outcomes: list[Outcome], ratio: float) -> str:
    """Return why the first of ranked readings is not the only one; empty if it is."""
    best = outcomes[0]
    equal = [other for other in outcomes[1:] if not told_apart(best, other, ratio=ratio)]
    if not equal or best.error is None:
        return ""
    names = "; ".join(f"{label(found.reading)} ({found.error:.4g})" for found in [best, *equal[:3]])
    return f"cannot be told apart: {names}"


def _stage(question: str, how: str, outcomes: list[Outcome]) -> Stage:
    return Stage(question, how, tuple(outcomes), label(outcomes[0].reading))
