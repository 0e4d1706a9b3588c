"""Compare two dumps: scales, variances, stitched images; a verdict, its reasons and a picture."""

from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from ptycho_torch.files import io
from ptycho_torch.infer.parity.align import Pair, align, differing_patches
from ptycho_torch.infer.parity.dump import Dump
from ptycho_torch.infer.parity.quantities import Quantity, compare_quantities
from ptycho_torch.runtime.errors import InputError, shown_path
from ptycho_torch.runtime.templates import render

FORMAT = "ptycho-torch comparison 1"


@dataclass(frozen=True, slots=True, kw_only=True)
class Comparison:
    """Two dumps beside each other: dumps: A, the reference, and B; pair: their images, aligned;
    patches: which differ most."""

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
        dumps = {
            letter: {
                "folder": shown_path(dump.source),
                "made_by": dump.made_by,
                "scales": dump.scales.record(),
                "stitched": list(dump.stitched_IYX.shape),
            }
            for letter, dump in zip("ab", self.dumps, strict=True)
        }
        return {
            "format": FORMAT,
            "passed": not self.failed,
            "failed": self.failed,
            "headline": self.headline,
            "tolerance": self.tolerance,
            **dumps,
            "aligned": self.pair.notes,
            "quantities": [asdict(quantity) for quantity in self.quantities],
            "patches": self.patches,
        }

    def text(self, level: str = "#") -> str:
        """Return the comparison in Markdown, under headings of a level."""
        dumps = [(shown_path(dump.source), dump) for dump in self.dumps]
        return render("infer", "compare.md.j2", level=level, comparison=self, dumps=dumps)


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
    if free:
        pair.notes.append("variances are relative to each patch's mean square")
    return Comparison(
        dumps=(first, second),
        tolerance=tolerance,
        pair=pair,
        quantities=compare_quantities(first, second, pair, tolerance, free_scale=free),
        patches=differing_patches(first, second),
    )


def write_comparison(folder: io.PathLike, comparison: Comparison) -> None:
    """Write `compare.json`, `compare.md` and `compare.png`, of the first image, into `folder`."""
    from ptycho_torch.infer.pictures import draw_objects, save_png

    folder, pair = Path(folder), comparison.pair
    images = {"A": pair.first_IYX[0], "B": pair.second_IYX[0]}
    figure = draw_objects(images, difference=True, caption="Aligned images; red: not in both.")
    save_png(folder / "compare.png", figure)
    io.write_text(folder / "compare.md", comparison.text())
    io.write_json(folder / "compare.json", comparison.record())
