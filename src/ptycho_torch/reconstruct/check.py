"""Which conventions explain a file best: stage by stage, and no answer where two do equally well.

1. Zero frequency and values, from the frames alone where they show it.
2. Axes, signs and origin of the positions: by the patterns that the file's own probe and object
   predict; without an object, or with one that predicts nothing, by quick reconstructions.
3. Half pixels, where there is an object: without one they move all positions alike.
"""

from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import replace
from itertools import product
from pathlib import Path
from typing import Any

import torch

from ptycho_torch.config.scan import ScanConventions
from ptycho_torch.data.light import light_is_at, values_of
from ptycho_torch.data.read import read_raw
from ptycho_torch.data.scan import Raw
from ptycho_torch.reconstruct import trial
from ptycho_torch.reconstruct.trial import Outcome, predicted, reconstructed
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

_AS_LAYOUT = "as the layout has it"

Variants = list[ScanConventions]
Stage = dict[str, Any]


def flags(conventions: ScanConventions) -> str:
    """Return the command-line flags that give conventions; none for what is at its default."""
    given = conventions.model_dump(exclude_defaults=True).items()
    words = [f"--{key.replace('_', '-')}" + ("" if v is True else f" {v}") for key, v in given]
    return " ".join(words)


def table(report: dict[str, Any]) -> str:
    """Return the stages as text; impossible conventions are counted, not listed."""
    lines = []
    for stage in report["stages"]:
        lines.append(f"{stage['question']}: {stage['answer']}  ({stage['how']})")
        tried = stage["readings"]
        possible = [one for one in tried if not one["impossible"]]
        lines += [f"  {one['error']:10.4f}  {one['flags'] or _AS_LAYOUT}" for one in possible]
        reasons = Counter(one["impossible"] for one in tried if one["impossible"])
        lines += [f"  impossible  {count} times: {why}" for why, count in reasons.items()]
    return "\n".join(lines)


def check_file(path: str | Path, given: ScanConventions) -> dict[str, Any]:
    """Try the conventions of a file; return what `check --json` prints (docs/reference/files.md).

    Given settings that are not at their defaults stay as they are. `InputError` if the file cannot
    be read at all.
    """
    torch.set_num_threads(1)  # Small frames gain nothing by more.
    given = given.model_copy(update={"patch_px": None})
    raw = read_raw(path, given)
    stages, variants = _from_frames(raw, given)
    found = None
    if raw.object_YX is not None and raw.probe_MHW is not None:
        found = _by_prediction(raw, stages, variants)
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
    swaps, mirrors = ("", "swap_axes"), ("", "flip_rows", "flip_columns", "flip_rows flip_columns")
    variants = [
        _with(given, zero_frequency=place, values=value, **dict.fromkeys(words.split(), True))
        for place, value in product(places, values)
        for words in map(" ".join, product(swaps, mirrors))
    ]
    # What is given makes some of them the same.
    return stages, list(dict.fromkeys(variants))


def _with(conventions: ScanConventions, **change: Any) -> ScanConventions:
    return conventions.model_copy(update=change)


def _by_prediction(
    raw: Raw, stages: list[Stage], variants: Variants
) -> tuple[ScanConventions, str] | None:
    """Return the best conventions by the file's own object, and why they are not the only ones;
    None if that decides nothing, and `stages` gets why."""
    candidates = [
        _with(variant, origin=origin)
        for variant in variants
        for origin in (_ORIGINS if variant.origin == "auto" else [variant.origin])
    ]
    how = f"{trial.PREDICTED_FRAMES} frames predicted by the file's probe and object"
    tried, doubt = _ranked(predicted, raw, candidates, _PREDICTED_RATIO)
    best = tried[0]
    if best.error > _EXPLAINS or doubt:
        why = "tells no conventions apart" if doubt else best.why or "does not predict the frames"
        stages.append(_stage("object", how, f"left aside: {why}", tried[:3]))
        return None
    stages.append(_stage("axes, signs and origin of positions", how, outcomes=tried))
    if best.conventions.half_pixel == 0:
        halves = [_with(best.conventions, half_pixel=half) for half in (-1, 0, 1)]
        tried, doubt = _ranked(predicted, raw, halves, _PREDICTED_RATIO)
        stages.append(_stage("half pixel", how, outcomes=tried))
    return tried[0].conventions, doubt


def _by_reconstruction(
    raw: Raw, stages: list[Stage], variants: Variants
) -> tuple[ScanConventions, str]:
    """Return the best conventions by what one object can explain, and why they are in doubt."""
    tried, doubt = _ranked(reconstructed, raw, variants, _RECONSTRUCTED_RATIO)
    best = tried[0]
    frames = min(trial.RECONSTRUCTED_FRAMES, len(raw.frames_nHW))
    probe = "the file's probe" if raw.probe_MHW is not None else "a probe made from the frames"
    # What is left where the positions say nothing: their order is random, always the same.
    order = named_stream(0, "shuffled positions").permutation(len(raw.positions_n2))
    mixed = replace(raw, positions_n2=raw.positions_n2[order])
    shuffled = reconstructed(mixed, best.conventions).error
    compare = f"shuffled positions err by {shuffled:.3g}"
    how = f"{frames} neighbouring frames reconstructed from {probe}; {compare}"
    no_matter = "no matter: without an object they move all positions alike"
    stages += [
        _stage("axes and signs of positions", how, outcomes=tried),
        _stage("origin, half pixel", "not tried", no_matter),
    ]
    # Without a probe of the file's, the reconstruction starts from one that is its own twin; and
    # chance may favour one of two twins: what the frames cannot say is minded before the errors.
    if raw.probe_MHW is None or trial.twin_similarity(raw.probe_MHW) > _TWIN:
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
