"""Which conventions explain a file best: stage by stage, and no answer where two do equally well.

1. Zero frequency and values, from the frames alone where they show it.
2. Axes, signs and origin of the positions: by the patterns that the file's own probe and object
   predict; without an object, or with one that predicts nothing, by quick reconstructions.
3. Half pixels, where there is an object: without one they move all positions alike.
"""

from dataclasses import dataclass, replace
from itertools import product
from pathlib import Path
from typing import Any

from ptycho_torch.config.scan import ScanConventions
from ptycho_torch.data.prepare import light_is_at, values_of
from ptycho_torch.data.read import read_raw
from ptycho_torch.data.scan import Raw
from ptycho_torch.reconstruct import trial
from ptycho_torch.reconstruct.trial import Outcome, predicted, reconstructed, told_apart

# Conventions under this relative error explain frames; above it, nothing.
_EXPLAINS = 0.5
# By how much the error of the next best must be larger.
_PREDICTED_RATIO, _RECONSTRUCTED_RATIO = 1.02, 1.1
_TWIN = 0.98


@dataclass(frozen=True, slots=True)
class Stage:
    """One question: how it was settled, the answer, and what was tried, best first."""

    question: str
    how: str
    answer: str
    outcomes: tuple[Outcome, ...] = ()


@dataclass(frozen=True, slots=True)
class Report:
    """The best conventions of a file; doubt: why they are not the only ones, empty if they are."""

    source: str
    stages: tuple[Stage, ...]
    conventions: ScanConventions
    doubt: str

    def as_json(self) -> dict[str, Any]:
        """Return the report as plain data."""
        return {
            "file": self.source,
            "decided": not self.doubt,
            "doubt": self.doubt or None,
            "reading": self.conventions.model_dump(exclude_defaults=True),
            "flags": flags(self.conventions),
            "stages": [
                {
                    "question": stage.question,
                    "how": stage.how,
                    "answer": stage.answer,
                    "readings": [
                        {
                            "flags": flags(o.conventions),
                            "error": o.error,
                            "impossible": o.why or None,
                        }
                        for o in stage.outcomes
                    ],
                }
                for stage in self.stages
            ],
        }

    def table(self) -> list[str]:
        """Return the stages as lines of text; impossible conventions are counted, not listed."""
        lines = []
        for stage in self.stages:
            lines.append(f"{stage.question}: {stage.answer}  ({stage.how})")
            possible = [o for o in stage.outcomes if o.error is not None]
            lines += [f"  {o.error:10.4f}  {_label(o.conventions)}" for o in possible]
            reasons = [o.why for o in stage.outcomes if o.error is None]
            lines += [
                f"  impossible  {reasons.count(r)} times: {r}" for r in dict.fromkeys(reasons)
            ]
        return lines


def flags(conventions: ScanConventions) -> str:
    """Return the command-line flags that give conventions; none for what is at its default."""
    given = conventions.model_dump(exclude_defaults=True).items()
    words = [f"--{key.replace('_', '-')}" + ("" if v is True else f" {v}") for key, v in given]
    return " ".join(words)


def _label(conventions: ScanConventions) -> str:
    return flags(conventions) or "as the layout has it"


def check_file(path: str | Path, given: ScanConventions) -> Report:
    """Try the conventions of a file.

    Parameters
    ----------
    path
        File of measurements.
    given
        What is known: settings that are not at their defaults stay as they are.

    Raises
    ------
    InputError
        If the file cannot be read at all.
    """
    given = given.model_copy(update={"patch_px": None})
    raw = read_raw(path, given)
    stages, variants = _from_frames(raw, given)
    has_both = raw.object_YX is not None and raw.probe_MHW is not None
    if has_both:
        found = _by_prediction(raw, stages, variants)
        if isinstance(found, Report):
            return found
        stages.append(found)
    report = _by_reconstruction(replace(raw, object_YX=None), stages, variants)
    if has_both and not report.doubt and predicted(raw, report.conventions).error is None:
        reason = "under the best conventions, windows reach out of the file's object"
        return replace(report, doubt=f"{reason}; give --origin or --units, or mend the file")
    return report


def _from_frames(raw: Raw, given: ScanConventions) -> tuple[list[Stage], list[ScanConventions]]:
    """Settle what frames show by themselves; return the conventions that remain."""
    places, where = [str(given.zero_frequency)], "as given"
    if given.zero_frequency == "auto":
        seen = light_is_at(raw.frames_nHW)
        places = [seen] if seen else ["centre", "corner"]
        where = "where the light is" if seen else "the light does not say"
    values, how = [str(given.values)], "as given"
    if given.values == "auto" and raw.layout == "cxi":
        values, how = ["intensity"], "as CXI has it"
    elif given.values == "auto":
        whole = values_of(raw.frames_nHW) == "intensity"
        values = ["intensity"] if whole else ["amplitude", "intensity"]
        how = "whole numbers are counts" if whole else "not whole numbers"
    variants = [
        given.model_copy(update={"zero_frequency": place, "values": value})
        for place, value in product(places, values)
    ]
    stages = [
        Stage("zero frequency", where, " or ".join(places)),
        Stage("values", how, " or ".join(values)),
    ]
    return stages, variants


def _axes(raw: Raw, conventions: ScanConventions) -> list[ScanConventions]:
    """Return conventions with rows and columns swapped and mirrored in all eight ways."""
    # The sign of both axes at once is CXI's own setting.
    both: dict[str, object] = {"flip_rows": True, "flip_columns": True}
    both = {"translation_sign": -1} if raw.layout == "cxi" else both
    mirrors: list[dict[str, object]] = [{}, {"flip_rows": True}, {"flip_columns": True}, both]
    swaps: list[dict[str, object]] = [{}, {"swap_axes": True}]
    found: list[ScanConventions] = []
    for swap, mirror in product(swaps, mirrors):
        candidate = conventions.model_copy(update=swap | mirror)
        if candidate not in found:
            found.append(candidate)
    return found


def _by_prediction(
    raw: Raw, stages: list[Stage], variants: list[ScanConventions]
) -> Report | Stage:
    """Decide by the file's own object; a stage that says why, if that decides nothing."""
    candidates = [
        turned.model_copy(update={"origin": origin})
        for variant in variants
        for turned in _axes(raw, variant)
        for origin in (
            ("corner", "centre", "middle") if turned.origin == "auto" else (turned.origin,)
        )
    ]
    tried = _ranked([predicted(raw, candidate) for candidate in candidates])
    best, doubt = tried[0], _doubt(tried, _PREDICTED_RATIO)
    how = f"{trial.PREDICTED_FRAMES} frames predicted by the file's probe and object"
    if best.error is None:
        return Stage("object", how, "no window lies in it: left aside", tried)
    if best.error > _EXPLAINS or doubt:
        why = "tells no conventions apart" if doubt else "does not predict the frames"
        return Stage("object", how, f"{why}: left aside", tried[:3])
    chosen = best.conventions
    question = "axes, signs and origin of positions"
    stages = [*stages, Stage(question, how, _label(chosen), tried)]
    if chosen.half_pixel == 0:
        halves = [chosen.model_copy(update={"half_pixel": half}) for half in (-1, 0, 1)]
        tried = _ranked([predicted(raw, candidate) for candidate in halves])
        chosen, doubt = tried[0].conventions, _doubt(tried, _PREDICTED_RATIO)
        stages.append(Stage("half pixel", how, _label(chosen), tried))
    return Report(raw.source, tuple(stages), chosen, doubt)


def _by_reconstruction(raw: Raw, stages: list[Stage], variants: list[ScanConventions]) -> Report:
    """Decide by what one object can explain."""
    candidates = [turned for variant in variants for turned in _axes(raw, variant)]
    tried = _ranked([reconstructed(raw, candidate) for candidate in candidates])
    best = tried[0]
    frames = min(trial.RECONSTRUCTED_FRAMES, len(raw.frames_nHW))
    probe = "the file's probe" if raw.probe_MHW is not None else "a probe made from the frames"
    how = f"{frames} neighbouring frames reconstructed from {probe}"
    aside = stages[-1].question == "object"
    left = "not tried: they matter to the object that was left aside"
    none = "no matter: without an object they move all positions alike"
    stages = [
        *stages,
        Stage("axes and signs of positions", how, _label(best.conventions), tried),
        Stage("origin, half pixel", "no object", left if aside else none),
    ]
    # Chance may favour one of two twins: what the frames cannot say is minded before the errors.
    doubt = _twin_doubt(raw) or _doubt(tried, _RECONSTRUCTED_RATIO)
    if best.error is None or best.error > _EXPLAINS:
        error = (
            "none could be tried" if best.error is None else f"the best errs by {best.error:.3g}"
        )
        doubt = f"no conventions explain the frames ({error})"
    return Report(raw.source, tuple(stages), best.conventions, doubt)


def _twin_doubt(raw: Raw) -> str:
    """Return why the sign of both axes at once is open, if it is."""
    cxi = raw.layout == "cxi"
    both = "--translation-sign 1 and -1" if cxi else "both axes mirrored and neither"
    start = f"cannot be told apart: {both}; the turned, conjugated object fits as well"
    if raw.probe_MHW is None:
        return f"{start}, and the file has no probe or object that would rule it out"
    similarity = trial.twin_similarity(raw.probe_MHW)
    if similarity > _TWIN:
        return f"{start}, since the probe is its own twin (similarity {similarity:.3f})"
    return ""


def _ranked(outcomes: list[Outcome]) -> tuple[Outcome, ...]:
    return tuple(sorted(outcomes, key=lambda o: float("inf") if o.error is None else o.error))


def _doubt(ranked: tuple[Outcome, ...], ratio: float) -> str:
    """Return why the first is not the only one; empty if it is."""
    best = ranked[0]
    equal = [other for other in ranked[1:] if not told_apart(best, other, ratio=ratio)]
    if not equal or best.error is None:
        return ""
    names = "; ".join(f"{_label(o.conventions)} ({o.error:.4g})" for o in [best, *equal[:3]])
    return f"cannot be told apart: {names}"
