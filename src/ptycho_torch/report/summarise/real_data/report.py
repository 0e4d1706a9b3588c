"""The summary's text: question, tables, figures, what they mean and what they do not show."""

from collections.abc import Mapping, Sequence
from typing import Any

from ptycho_torch.config.real_data import RealDataSettings
from ptycho_torch.report.summarise.real_data.collect import Collected
from ptycho_torch.report.summarise.real_data.table import (
    AGREEMENTS,
    R_FACTORS,
    RESOLUTIONS,
    score_table,
)
from ptycho_torch.runtime.markdown import folded, listed, number, percent, plain, plural, table

TITLES = {
    "reconstructions": "Reconstructions",
    "ring_correlation": "Fourier ring correlation of two half scans",
    "r_factor_map": "R factor of each frame",
    "held_out_frames": "Held-out frames, observed and predicted",
    "learning_curves": "Learning curves",
}
CAPTIONS = {
    "reconstructions": (
        "Amplitude and phase in the box in which objects are compared, of rPIE and of each "
        "network's seed of median R factor on the frames held out; all on rPIE's scales."
    ),
    "ring_correlation": (
        "Correlation, ring by ring, of the objects of two disjoint half scans, with the half-bit "
        "threshold, 1/2 and 1/7. rPIE's halves start anew from the file's probe; a network's "
        "halves share network and probe, which raises their curves."
    ),
    "r_factor_map": (
        "R factor of each frame where it was taken: training frames are dots, frames held out "
        "squares, those of them that are not lit enough crosses. Predicted by the object of the "
        "training frames."
    ),
    "held_out_frames": (
        "Frames held out, spread evenly over them, as observed and as predicted: by the object of "
        "the training frames, and by the network's own patch of that very frame. Log scale over "
        "2.5 decades."
    ),
    "learning_curves": (
        "Loss by epoch of every network and seed, and rPIE's R factor by iteration on the frames "
        "that it was given."
    ),
}


def summary_text(
    title: str, real: RealDataSettings, every: Sequence[Collected], provenance: Mapping[str, Any]
) -> str:
    """Return summary.md."""
    parts = [
        f"# Real measurements\n\n{title}",
        "**Question:** do the study's networks reconstruct measured data, whose truth nobody "
        "knows, and how far are they from a conventional reconstruction by rPIE?",
    ]
    for found in every:
        parts += _measurement(found, real)
    parts += [_limits(real), _how_made(real, every, provenance)]
    return "\n\n".join(parts) + "\n"


def _measurement(found: Collected, real: RealDataSettings) -> list[str]:
    about = real.measurements[found.name].about
    return [
        f"## `{found.name}`" + (f"\n\n{about}." if about else ""),
        _in_short(found),
        _failures(found),
        "### Amplitude R factor\n\n" + score_table(found, R_FACTORS, baselines=True),
        _r_note(found, real),
        "### Resolution by Fourier ring correlation of two half scans\n\n"
        + score_table(found, RESOLUTIONS, baselines=False),
        _frc_note(found),
        "### Agreement with rPIE\n\n" + score_table(found, AGREEMENTS, baselines=True),
        _agreement_note(found, real),
        "### Figures",
        *(
            f"![{name}]({found.name}/{file}.png)\n\n**{name}.** {CAPTIONS[file]} "
            f"([SVG]({found.name}/{file}.svg))"
            for file, name in TITLES.items()
        ),
    ]


def _in_short(found: Collected) -> str:
    known = found.rpie.metrics
    flat, unseen = known["baselines"]["constant_held_out"], known["r_factor"]["held_out_object"]
    lines = []
    if unseen is not None and flat is not None:
        lines.append(
            f"- rPIE predicts frames that it has not seen with an R factor of {number(unseen)}, a "
            f"constant object with {number(flat)}; photon noise alone would leave "
            f"{number(known['baselines']['noise'])}."
        )
    good = [result for result in found.networks if result.completed]
    if good:
        best = min(good, key=lambda r: r.metrics["r_factor"]["held_out_patch"])
        scored = best.metrics["r_factor"]
        lines.append(
            f"- The best network run ({best.name}) explains frames held out by its own patches of "
            f"them with {number(scored['held_out_patch'])}; the object that it stitches from the "
            f"training frames predicts them with {number(scored['held_out_object'])}."
        )
        better = [
            r.name
            for r in good
            if flat is not None
            and r.metrics["r_factor"]["held_out_object"] is not None
            and r.metrics["r_factor"]["held_out_object"] < flat
        ]
        lines.append(
            f"- {len(better)} of {plural(len(good), 'finished network run')} predict held-out "
            "frames better than the constant object does, by their stitched objects."
        )
    failed = len(found.networks) - len(good)
    lines.append(f"- {failed} of {plural(len(found.networks), 'network run')} failed.")
    return "\n".join(lines)


def _failures(found: Collected) -> str:
    rows = [
        [result.name, f"`{result.metrics['outcome']}`", str((result.metrics["failure"] or {}).get(
            "reason", "unknown"))]
        for result in found.results
        if not result.completed
    ]  # fmt: skip
    return table(("run", "outcome", "reason"), rows) if rows else "Every run ended well."


def _r_note(found: Collected, real: RealDataSettings) -> str:
    held, split = found.rpie.metrics["held_out"], found.split
    near, far = (number(split["nearest_px"][key]) for key in ("least", "largest"))
    return (
        f"R = sum |A_pred - A_obs| / sum A_obs; predicting nothing gives 1. Of "
        f"{split['frames']} frames {held['frames']} in one region are held out and "
        f"{len(split['gap_frames'])} within {number(split['gap_px'])} px of them are used for "
        f"nothing; the training frame nearest to a held-out one is {near} to {far} px away. What "
        "training frames light is still "
        f"{percent(held['covered_share'])} of their probe's power, and {held['covered']} of "
        f"{held['frames']} frames count, with at least {percent(real.scores.covered_share)}.\n\n"
        "Compare within a column. *By the training frames' object*: neither rPIE nor the network "
        "has used the frame in any way; this is the test of a prediction. *By an object from "
        "themselves*, *by each one's own patch*: the frame's own pattern was the input, for rPIE "
        "in many iterations with its neighbours held out alike, for a network in one look with "
        "weights that never saw it; it is judged there by how well it inverts a new pattern. "
        "*Other half*: the object of each half predicts the frames of the other; a network's "
        "weights have seen both.\n\nSeveral seeds: median [least, largest]."
    )


def _frc_note(found: Collected) -> str:
    halves = found.rpie.metrics["halves"]
    shift = " and ".join(number(value, 2) for value in halves["shift_px"])
    return (
        "Full periods, pixels of the object plane in the frames in use; 2 px is the finest that "
        "they hold. rPIE's halves have nothing but the file in common (each refines the probe "
        f"anew), so shift ({shift} px), tilt and factor are free between them and removed. A "
        "network's halves share the network and the probe: their correlation says how stable the "
        "network is, not how right, and only a constant phase is removed. The half-bit threshold "
        "counts the pixels that the Hann window leaves independent."
    )


def _agreement_note(found: Collected, real: RealDataSettings) -> str:
    free = (
        "Networks and rPIE have one probe, so only a constant phase is free; shift, tilt and scale "
        "are kept and count as errors."
        if real.network_probe == "refined"
        else "Networks have the file's probe and rPIE a refined one, so shift, tilt and one factor "
        "are free and removed."
    )
    rows, columns = found.rpie.metrics["box"]
    return (
        f"In the box of rows {rows[0]} to {rows[1]} and columns {columns[0]} to {columns[1]}, all "
        f"lit. {free} rPIE is no truth: agreement means that two methods see the same. A complex "
        "correlation is near 1 for anything bright; without the means only structure counts."
    )


def _limits(real: RealDataSettings) -> str:
    scans = plural(len(real.measurements), "scan")
    return (
        "## What this does not show\n\n"
        f"- {scans} of one sample: the spread over {plural(len(real.seed_list), 'seed')} is the "
        "spread of training, on these frames. It says nothing of other samples, and no interval or "
        "test of arms is given.\n"
        "- There is no ground truth. A low R factor says that patterns are explained; errors that "
        "probe and object share stay unseen. rPIE and networks share the refined probe where the "
        "settings say so.\n"
        "- Networks are trained on the training frames of this very scan, without labels; it is "
        "not tested whether one scan's network serves another.\n"
        "- The held-out region is small, so that its surroundings still light it; it lies in one "
        "place of the sample."
    )


def _how_made(
    real: RealDataSettings, every: Sequence[Collected], provenance: Mapping[str, Any]
) -> str:
    rows = [
        ["command", f"`{provenance['command']}`"],
        ["commit", str(provenance["commit"])],
        ["python", f"{provenance['python']} on {provenance['platform']}"],
        ["versions", ", ".join(f"{k} {v}" for k, v in provenance["versions"].items())],
    ]
    for found in every:
        source, rpie = found.source, found.rpie.report
        devices = sorted({str(r.report["device"]) for r in found.results})
        fits = [float(r.report["seconds"]) for r in found.networks]
        rows += [
            [f"`{found.name}`", f"{source['file']}, SHA-256 `{source['sha256']}`, taken from the "
             f"{source['taken_from']}"],
            ["reading", "; ".join(found.split["notes"])],
            ["frames", listed([f"{len(index)} {part.replace('_', ' ')}" for part, index in
                               found.split["parts"].items()])],
            ["device", listed(devices)],
            ["time", f"rPIE, four parts: {number(float(rpie['seconds']))} s; training of each "
             f"network: {number(min(fits))} to {number(max(fits))} s"],
        ]  # fmt: skip
    settings = [
        [f"`{key}`", f"`{value}`" if isinstance(value, str) else _plain(value)]
        for key, value in real.model_dump(mode="json", exclude={"measurements"}).items()
    ]
    return f"## How it was made\n\n{table(('what', 'value'), rows)}\n\n" + folded(
        "Settings of `real_data`", table(("key", "value"), settings)
    )


def _plain(value: Any) -> str:
    if isinstance(value, Mapping):
        return ", ".join(f"{key} {_plain(inner)}" for key, inner in value.items()) or "none"
    if isinstance(value, list):
        return ", ".join(_plain(inner) for inner in value)
    return plain(value) if isinstance(value, float) else str(value)
