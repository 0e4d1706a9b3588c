"""Compare two dumps: scales, variances, stitched images; a verdict, its reasons and a picture."""

from pathlib import Path
from typing import Any

from ptycho_torch.files import io
from ptycho_torch.infer.parity.align import Pair, align, differing_patches
from ptycho_torch.infer.parity.dump import Dump
from ptycho_torch.infer.parity.quantities import compare_quantities
from ptycho_torch.runtime.errors import InputError, shown_path
from ptycho_torch.runtime.templates import render

FORMAT = "ptycho-torch comparison 1"


def compare(
    first: Dump, second: Dump, *, tolerance: float, free_scale: bool = False
) -> tuple[dict[str, Any], Pair]:
    """Compare two dumps; A is the reference.

    Parameters
    ----------
    tolerance
        What a ratio may deviate from 1, a relative MAE may be, an SSIM may lack to 1.
    free_scale
        The scale of the images is a gauge: it is fitted and not judged. So it is also where a
        dump itself says so.

    Returns
    -------
    tuple
        Contents of `compare.json`, and the aligned images.

    Raises
    ------
    InputError
        If the dumps cannot be of one scan, or the tolerance is not between 0 and 1.
    """
    if not 0 < tolerance < 1:
        raise InputError(f"tolerance must lie between 0 and 1, got {tolerance:g}")
    free = free_scale or first.scale_is_free or second.scale_is_free
    pair = align(first, second, free_scale=free)
    quantities = compare_quantities(first, second, pair, tolerance, free_scale=free)
    named = {
        status: [q["name"] for q in quantities if q["status"] == status]
        for status in ("fail", "not judged")
    }
    failed, judged = named["fail"], len(quantities) - len(named["not judged"])
    headline = f"passed in all {judged} quantities that are judged"
    if failed:
        headline = f"FAILED in {len(failed)} of {judged}: {', '.join(failed)}"
    if named["not judged"]:
        headline += f"; not judged: {', '.join(named['not judged'])}"
    dumps = {
        letter: {
            "folder": shown_path(dump.source),
            "made_by": dump.made_by,
            "scales": dump.scales.record(),
            "stitched": list(dump.stitched_IYX.shape),
        }
        for letter, dump in (("a", first), ("b", second))
    }
    return {
        "format": FORMAT,
        "passed": not failed,
        "failed": failed,
        "headline": headline,
        "tolerance": tolerance,
        **dumps,
        "aligned": pair.notes,
        "quantities": quantities,
        "patches": differing_patches(first, second),
    }, pair


def comparison_text(record: dict[str, Any], level: str = "#") -> str:
    """Return a comparison in Markdown, under headings of a level."""
    return render("infer", "compare.md.j2", level=level, **record)


def write_comparison(folder: io.PathLike, record: dict[str, Any], pair: Pair) -> None:
    """Write `compare.json`, `compare.md` and `compare.png`, of the first image, into `folder`."""
    from ptycho_torch.infer.pictures import draw_objects, save_png

    images = {"A": pair.first_IYX[0], "B": pair.second_IYX[0]}
    figure = draw_objects(images, difference=True, caption="Aligned images; red: not in both.")
    save_png(Path(folder) / "compare.png", figure)
    io.write_text(Path(folder) / "compare.md", comparison_text(record))
    io.write_json(Path(folder) / "compare.json", record)
