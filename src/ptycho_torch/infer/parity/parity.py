"""Parity: training and inference of one bundle agree, and so do two ways of stitching.

Letters: B patches, I images, Y rows, X columns of a stitched image, H rows, W columns of a patch.
"""

import logging
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ptycho_torch.config.evaluation import ParitySettings
from ptycho_torch.data.scales import NUMBERS
from ptycho_torch.files import io
from ptycho_torch.infer.parity.compare import Comparison, compare, comparison_text
from ptycho_torch.infer.parity.dump import Dump
from ptycho_torch.infer.parity.files import read_dump, write_dump
from ptycho_torch.infer.parity.training import TestScan, read_test_scan, training_dump
from ptycho_torch.runtime.errors import InputError
from ptycho_torch.runtime.markdown import plain, table

logger = logging.getLogger(__name__)

FORMAT = "ptycho-torch parity 1"
FACTS, PROSE, PICTURE, STITCHING = "parity.json", "parity.md", "parity.png", "stitching.png"
TRUTH_BOUND = 1e-5
"""Noise-free patches stitch to one object either way; complex64 leaves 1e-7 of it."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Check:
    """One number that must not exceed its bound; None where it has none, and then it failed."""

    name: str
    value: float | None
    bound: float
    meaning: str

    @property
    def passed(self) -> bool:
        """Whether the number is there and within its bound."""
        return self.value is not None and self.value <= self.bound


@dataclass(frozen=True, slots=True, kw_only=True)
class Parity:
    """All that `snakemake parity` found.

    images_IYX: the run's test images from central tiles, and from whole patches.
    """

    comparison: Comparison
    checks: list[Check]
    images_IYX: tuple[NDArray[Any], NDArray[Any]]

    @property
    def failed(self) -> list[str]:
        """Names of what did not agree."""
        return [*self.comparison.failed, *(c.name for c in self.checks if not c.passed)]

    @property
    def headline(self) -> str:
        """The verdict in one line."""
        if self.failed:
            return f"FAILED: {', '.join(self.failed)}"
        return "passed: training and inference agree, and so do both ways of stitching"


def find_parity(
    training: Dump, inference: Dump, scan: TestScan, settings: ParitySettings
) -> Parity:
    """Hold training against inference, and central tiles against whole patches.

    Parameters
    ----------
    training
        Of `training_dump`.
    inference
        The bundle's reconstruction of the same split.
    scan
        The test split.

    Raises
    ------
    InputError
        If the dumps are not of one test split.
    """
    comparison = compare(training, inference, tolerance=settings.tolerance)
    if training.patches_PHW is None:
        raise InputError(f"{training.source}: has no patches")
    channels = scan.corners_nC2.shape[1]
    predicted = training.patches_PHW[::channels]
    images = scan.by_tiles(predicted), scan.by_patches(predicted)
    truth = scan.truth_BHW(training.scales.norm_Y_I or 1.0)
    return Parity(
        comparison=comparison,
        checks=[
            *_rounding(comparison, settings),
            Check(
                name="stitching",
                value=amplitude_difference(*images),
                bound=settings.reassembly,
                meaning="central tiles and whole patches of the trained run: mean difference of "
                "the amplitudes over their mean",
            ),
            Check(
                name="stitching_of_the_truth",
                value=amplitude_difference(scan.by_tiles(truth), scan.by_patches(truth)),
                bound=TRUTH_BOUND,
                meaning="the same of noise-free patches of the true object",
            ),
        ],
        images_IYX=images,
    )


def amplitude_difference(first_IYX: NDArray[Any], second_IYX: NDArray[Any]) -> float | None:
    """Return mean | |A| - |B| | / mean |A| where both are known; None if not defined."""
    finite = np.isfinite(first_IYX) & np.isfinite(second_IYX)
    first, second = np.abs(first_IYX[finite]), np.abs(second_IYX[finite])
    if not finite.any() or not first.mean() > 0:
        return None
    return float(np.abs(first - second).mean() / first.mean())


def _rounding(comparison: Comparison, settings: ParitySettings) -> list[Check]:
    """Return the checks that training and inference are the same computation."""
    ratios = [q.value for q in comparison.quantities if q.name in NUMBERS]
    found = [None if r is None else abs(r - 1) for r in ratios]
    worst = comparison.patches["worst"]
    # Groups of several patches are formed anew by inference, and then no patch has a partner.
    checks = []
    if comparison.patches["reason"] is None:
        checks.append(
            Check(
                name="patches_to_rounding",
                value=worst[0]["error"] if worst else None,
                bound=settings.rounding,
                meaning="training and inference, largest ||A - B|| / ||A|| of a patch",
            )
        )
    known = [value for value in found if value is not None]
    checks.append(
        Check(
            name="scales_to_rounding",
            value=max(known) if len(known) == len(found) else None,
            bound=settings.rounding,
            meaning="training and inference, largest deviation of a scale's ratio from 1",
        )
    )
    return checks


def write_parity(folder: io.PathLike, found: Parity, *, facts: dict[str, Any]) -> None:
    """Write `parity.md`, `parity.json` and two pictures into `folder`.

    Parameters
    ----------
    facts
        What else `parity.json` says: the run, the settings.
    """
    from ptycho_torch.infer.parity.pictures import draw_comparison

    folder = Path(folder)
    pair = found.comparison.pair
    more = "" if len(pair.first_IYX) == 1 else f" The first of {len(pair.first_IYX)} images."
    draw_comparison(
        folder / PICTURE, (pair.first_IYX, pair.second_IYX), ("A, training", "B, inference"),
        "Training and inference of one bundle on the test split." + more,
    )  # fmt: skip
    draw_comparison(
        folder / STITCHING, found.images_IYX, ("A, central tiles", "B, whole patches"),
        "The training's patches, stitched in two ways." + more,
    )  # fmt: skip
    io.write_text(folder / PROSE, parity_text(found, facts))
    io.write_json(
        folder / FACTS,
        {
            "format": FORMAT,
            "passed": not found.failed,
            "failed": found.failed,
            "headline": found.headline,
            **facts,
            "checks": [
                {
                    "name": c.name,
                    "value": c.value,
                    "bound": c.bound,
                    "passed": c.passed,
                    "meaning": c.meaning,
                }
                for c in found.checks
            ],
            "comparison": found.comparison.record(),
        },
    )


def parity_text(found: Parity, facts: dict[str, Any]) -> str:
    """Return the report in Markdown."""
    run = facts["run"]
    rows = [
        [
            f"`{c.name}`",
            "not defined" if c.value is None else f"{c.value:.2g}",
            plain(c.bound),
            "pass" if c.passed else "FAIL",
            c.meaning,
        ]
        for c in found.checks
    ]
    paired = found.comparison.patches["reason"]
    also = f"\n\nPatches are not compared one by one: {paired}." if paired else ""
    return (
        f"# Parity {found.headline}\n\n"
        f"Run: arm `{run['arm']}`, seed {run['seed']}, dataset `{run['dataset']}`, which training "
        f"calls `{run['outcome']}`. docs/parity.md says how to read this.\n\n"
        f"![training and inference]({PICTURE})\n\n![two ways of stitching]({STITCHING})\n\n"
        f"## Closer than {plain(found.comparison.tolerance)}\n\n"
        f"{table(('check', 'value', 'at most', '', 'what'), rows)}{also}\n\n"
        f"{comparison_text(found.comparison).replace('# ', '## ')}"
    )


def report_parity(
    *,
    run: io.PathLike,
    dataset: io.PathLike,
    test: io.PathLike,
    patches: io.PathLike,
    inference: io.PathLike,
    settings: Mapping[str, Any],
    folder: io.PathLike,
) -> None:
    """Write the training's dump into `training/`, and the report, whatever it says.

    Parameters
    ----------
    run, dataset, test, patches
        `run.json`, `dataset.json`, `test.npz`, `test_patches.npz`.
    inference
        The inference's dump, a folder.
    settings
        Of `ParitySettings`.

    Raises
    ------
    InputError
        If files lack something or do not belong together.
    """
    limits = ParitySettings.model_validate(dict(settings))
    scan = read_test_scan(test, dataset)
    training = training_dump(scan, run=run, dataset=dataset, patches=patches)
    write_dump(Path(folder) / "training", training)
    # Read back, so that what is compared is what anybody can compare again.
    training = read_dump(Path(folder) / "training")
    found = find_parity(training, read_dump(inference), scan, limits)
    record = io.read_json(run)
    facts = {
        "run": {key: record[key] for key in ("dataset", "arm", "seed", "outcome")},
        "settings": limits.model_dump(mode="json"),
    }
    write_parity(folder, found, facts=facts)
    logger.info("parity %s", found.headline)


def require_parity(report: io.PathLike, passed: io.PathLike) -> None:
    """Write `passed` if a report says that all agreed.

    Raises
    ------
    InputError
        If it does not; says what failed, and where to read it.
    """
    facts = io.read_json(report)
    if facts.get("format") != FORMAT:
        raise InputError(f"{report}: format is {facts.get('format')!r}, expected {FORMAT!r}")
    if facts.get("passed") is not True:
        raise InputError(
            f"{report}: parity {facts.get('headline')}; {Path(report).with_name(PROSE)} has the "
            "numbers"
        )
    io.write_text(passed, f"{facts['headline']}\n")
