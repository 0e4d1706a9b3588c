"""Compare two dumps: scales, variances, stitched images; a verdict, its reasons and a picture."""

from dataclasses import asdict, dataclass
from html import escape
from pathlib import Path
from typing import Any

from ptycho_torch.files import io
from ptycho_torch.infer.parity.align import Pair, align
from ptycho_torch.infer.parity.dump import Dump
from ptycho_torch.infer.parity.pairing import differing_patches
from ptycho_torch.infer.parity.quantities import (
    Quantity,
    image_quantities,
    scale_quantities,
    variance_quantities,
)
from ptycho_torch.runtime.errors import InputError, shown_path
from ptycho_torch.runtime.markdown import number, table

FORMAT = "ptycho-torch comparison 1"
FACTS, PROSE, PICTURE = "compare.json", "compare.md", "compare.png"


@dataclass(frozen=True, slots=True, kw_only=True)
class Comparison:
    """Two dumps beside each other.

    dumps: A, the reference, and B; pair: their images, aligned; patches: which differ most.
    """

    dumps: tuple[Dump, Dump]
    tolerance: float
    pair: Pair
    quantities: list[Quantity]
    patches: dict[str, Any]

    @property
    def failed(self) -> list[str]:
        """Names of the quantities that did not pass."""
        return [q.name for q in self.quantities if q.status == "fail"]

    @property
    def passed(self) -> bool:
        """Whether every quantity that both dumps give passed."""
        return not self.failed

    @property
    def headline(self) -> str:
        """The verdict in one sentence."""
        skipped = [q.name for q in self.quantities if q.status == "not judged"]
        judged = len(self.quantities) - len(skipped)
        also = f"; not judged: {', '.join(skipped)}" if skipped else ""
        if self.failed:
            return f"FAILED in {len(self.failed)} of {judged}: {', '.join(self.failed)}{also}"
        return f"passed in all {judged} quantities that are judged{also}"

    def record(self) -> dict[str, Any]:
        """Return the comparison for JSON."""
        return {
            "format": FORMAT,
            "passed": self.passed,
            "failed": self.failed,
            "headline": self.headline,
            "tolerance": self.tolerance,
            **{
                letter: {
                    "folder": shown_path(dump.source),
                    "made_by": dump.made_by,
                    "scales": dump.scales.record(),
                    "stitched": list(dump.stitched_IYX.shape),
                }
                for letter, dump in zip("ab", self.dumps, strict=True)
            },
            "aligned": self.pair.said,
            "quantities": [asdict(quantity) for quantity in self.quantities],
            "patches": self.patches,
        }


def compare(first: Dump, second: Dump, *, tolerance: float, free_scale: bool = False) -> Comparison:
    """Compare two dumps; A is the reference.

    Parameters
    ----------
    tolerance
        What a ratio may deviate from 1, a relative MAE may be, an SSIM may lack to 1.
    free_scale
        The scale of the images is a gauge: it is fitted and not judged. So it is also where a
        dump itself says so.

    Raises
    ------
    InputError
        If the dumps cannot be of one scan, or the tolerance is not between 0 and 1.
    """
    if not 0 < tolerance < 1:
        raise InputError(f"tolerance must lie between 0 and 1, got {tolerance:g}")
    free = free_scale or first.scale_is_free or second.scale_is_free
    pair = align(first, second, free_scale=free)
    quantities = [
        *scale_quantities(first, second, tolerance),
        *variance_quantities(first, second, tolerance, free_scale=free),
        *image_quantities(pair, tolerance, free_scale=free),
    ]
    if free:
        pair.said.append("variances are relative to each patch's mean square")
    patches = differing_patches(first, second)
    return Comparison(
        dumps=(first, second),
        tolerance=tolerance,
        pair=pair,
        quantities=quantities,
        patches=patches,
    )


def write_comparison(folder: io.PathLike, found: Comparison) -> None:
    """Write `compare.json`, `compare.md` and `compare.png` into `folder`."""
    from ptycho_torch.infer.parity.pictures import draw_comparison

    folder = Path(folder)
    images = len(found.pair.first_IYX)
    also = "" if images == 1 else f" The first of {images} images."
    said = ". ".join(s[0].upper() + s[1:] for s in found.pair.said) + "."
    draw_comparison(
        folder / PICTURE, (found.pair.first_IYX, found.pair.second_IYX), ("A", "B"), said + also
    )
    io.write_text(folder / PROSE, comparison_text(found))
    io.write_json(folder / FACTS, found.record())


def comparison_text(found: Comparison) -> str:
    """Return a comparison in Markdown: verdict, table, what was aligned, which patches differ."""
    rows = [
        [
            f"`{q.name}`",
            "" if q.a is None else number(q.a, 4),
            "" if q.b is None else number(q.b, 4),
            "not defined" if q.value is None else f"{q.value:.4f}",
            q.limit,
            q.status.upper() if q.status == "fail" else q.status,
            q.reason or "",
        ]
        for q in found.quantities
    ]
    header = ("quantity", "A", "B", "ratio, error or similarity", "limit", "", "why")
    lines = [f"# Comparison: {found.headline}", ""]
    for letter, dump in zip("AB", found.dumps, strict=True):
        # What another program says of itself is text, and no markup.
        made_by, scales = (escape(said, quote=False) for said in (dump.made_by, dump.scales.text()))
        lines.append(f"- {letter}: `{shown_path(dump.source)}`, made by: {made_by}; {scales}")
    lines += ["", table(header, rows), "", "## What was aligned", ""]
    lines += [f"- {sentence}" for sentence in found.pair.said]
    lines += ["", "## Patches that differ most", "", _patches_text(found.patches)]
    return "\n".join(lines) + "\n"


def _patches_text(patches: dict[str, Any]) -> str:
    if patches["reason"]:
        return f"Not paired: {patches['reason']}."
    rows = [
        [
            str(w["a"]),
            str(w["b"]),
            "" if w["position"] is None else ", ".join(f"{x:g}" for x in w["position"]),
            number(w["error"]),
            *(number(value) for value in w["var_zero_mean"]),
        ]
        for w in patches["worst"]
    ]
    header = (
        "patch of A", "of B", "position, px", "error", "`var_zero_mean` in A", "in B",
    )  # fmt: skip
    mine, theirs = patches["of"]
    return (
        f"{patches['paired']} of {mine} and {theirs} patches are paired; the median error is "
        f"{number(patches['median_error'])}. Error: ||A - B|| / ||A|| after the phase that fits "
        f"best, patch by patch.\n\n{table(header, rows)}"
    )
