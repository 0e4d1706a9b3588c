"""Reassembly, metrics, evaluation and rPIE beside plain NumPy loops: `make bench ONLY=numerics`.

The data are the full protocol's test split: 2 images of 1089 patches of 64 px at a step of 10 px,
with a network's errors stood in by noise and by a phase of each patch's own. rPIE has 225
patterns at a step of 10 px. One thread.

Letters: B patches, H rows, W columns.
"""

from collections.abc import Callable, Mapping
from functools import partial
from typing import Any

import numpy as np
import plain_numerics as plain
import torch
from side_by_side import command, ratio, seconds, summary, take_turns, times

from ptycho_torch.config.dataset import ObjectSettings, TriangleProbe
from ptycho_torch.config.evaluation import EvaluationSettings
from ptycho_torch.config.reconstruct import RpieSettings
from ptycho_torch.evaluate import block
from ptycho_torch.evaluate.frc import ring_correlation
from ptycho_torch.evaluate.overlaps import compare_overlaps
from ptycho_torch.evaluate.scores import ssim
from ptycho_torch.evaluate.truth import GroundTruth
from ptycho_torch.physics.predict import predict_amplitudes
from ptycho_torch.physics.stitch import reassemble, stitch_tiles
from ptycho_torch.reconstruct.rpie import reconstruct_rpie
from ptycho_torch.runtime.markdown import table
from ptycho_torch.runtime.streams import named_stream
from ptycho_torch.simulate.objects import draw_objects
from ptycho_torch.simulate.probes import make_probe

OURS, PLAIN = "here", "plain NumPy"
Program = Callable[[], Any]


def make_scene(side: int, step: int, places: int, images: int) -> tuple[GroundTruth, Any]:
    """Return a test scan of so many places along each axis, and predictions of its patches."""
    size = side + step * (places - 1)
    objects = draw_objects(ObjectSettings(size_px=size, set_phi=True), images=images, seed=2)
    corners = step * np.stack(np.meshgrid(*[np.arange(places)] * 2, indexing="ij"), -1)
    corners = corners.reshape(-1, 2)
    scene = GroundTruth(
        objects_IHW=objects.astype(np.complex64),
        positions_B2=np.tile(corners, (images, 1)),
        image_B=np.repeat(np.arange(images), len(corners)),
        probe_MHW=make_probe(TriangleProbe(shape="triangle"), side)[None].astype(np.complex64),
        norm=float(np.abs(objects).max()),
        tile_px=step,
    )
    truth = scene.patches_BHW
    stream = np.random.default_rng(0)
    noise = stream.normal(size=(2, *truth.shape))
    turned = np.exp(1j * stream.normal(0, 0.3, len(truth)))[:, None, None]
    return scene, ((truth + 0.1 * (noise[0] + 1j * noise[1])) * turned).astype(np.complex64)


def evaluation(scene: GroundTruth, patches_BHW: Any) -> dict[str, tuple[Program, Program | None]]:
    """Return what evaluates patches: task -> (our program, the plain one)."""
    where = (scene.positions_B2, scene.image_B)
    intensity = (np.abs(scene.probe_MHW) ** 2).sum(axis=0)
    tiles = (patches_BHW, *where, scene.tile_px)
    whole = (patches_BHW, *where, intensity, scene.tile_px)
    images = np.abs(stitch_tiles(*tiles)) * scene.norm
    truths = np.abs(scene.images_IHW(0))
    found = compare_overlaps(patches_BHW, scene)
    pairs = np.stack([found.first_K, found.second_K], axis=1)
    settings = EvaluationSettings()
    return {
        "stitching by tiles": (partial(stitch_tiles, *tiles), partial(plain.stitch_tiles, *tiles)),
        "reassembly of whole patches": (
            partial(reassemble, *whole),
            partial(plain.reassemble, *whole),
        ),
        "overlaps of neighbours": (
            partial(compare_overlaps, patches_BHW, scene),
            partial(plain.overlap_products, patches_BHW, scene.positions_B2, intensity, pairs),
        ),
        "SSIM of one image": (
            partial(ssim, truths[0], images[0]),
            partial(plain.ssim, truths[0], images[0]),
        ),
        "ring correlation of one image": (
            partial(ring_correlation, truths[0], images[0]),
            partial(plain.ring_correlation, truths[0], images[0]),
        ),
        "all scores of one set of patches": (
            lambda: block.score(block.reconstruct(patches_BHW, scene, settings)),
            None,
        ),
    }


def conventional(side: int, step: int, places: int, passes: int) -> tuple[Program, Program]:
    """Return passes of rPIE, one frame after the other, ours and the plain one."""
    scene, _ = make_scene(side, step, places, 1)
    probe, positions = scene.probe_MHW, scene.positions_B2
    thing = (scene.objects_IHW[0] / scene.norm).astype(np.complex64)
    frames = predict_amplitudes(thing, probe, positions)
    settings = RpieSettings(passes=passes)
    stream = named_stream(settings.seed, "rpie", "order")
    orders = [stream.permutation(len(frames)) for _ in range(passes)]
    return (
        lambda: reconstruct_rpie(frames, positions.astype(float), probe, settings).object_YX,
        lambda: plain.rpie(frames, positions, probe[0], orders, settings.alpha),
    )


def measure(
    rounds: int = 5,
    scan: tuple[int, int, int, int] = (64, 10, 33, 2),
    rpie_scan: tuple[int, int, int] = (64, 10, 15),
    passes: int = 5,
) -> dict[str, Any]:
    """Return seconds of each task by both programs, which take turns.

    Parameters
    ----------
    scan
        Side of a patch, step, places along an axis, images.
    rpie_scan
        The first three for rPIE.
    passes
        Of rPIE.
    """
    torch.set_num_threads(1)
    tasks: dict[str, tuple[Program, Program | None]] = evaluation(*make_scene(*scan))
    tasks[f"rPIE, {passes} passes"] = conventional(*rpie_scan, passes)
    taken = {}
    for name, (ours, theirs) in tasks.items():
        programs = {OURS: ours} if theirs is None else {OURS: ours, PLAIN: theirs}
        taken[name] = take_turns(programs, rounds=rounds, warmups=1)
    side, step, places, images = scan
    what = f"{images} x {places**2} patches of {side} px at a step of {step} px"
    other = f"rPIE {rpie_scan[2] ** 2} patterns of {rpie_scan[0]} px"
    return {"conditions": f"{what}; {other}; {rounds} rounds, one thread", "seconds": taken}


def tables(result: Mapping[str, Any]) -> str:
    """Return a row a task: ours, the plain one, and how many times as long that takes."""
    rows = []
    for name, taken in result["seconds"].items():
        programs = summary(taken)
        both = PLAIN in taken
        rows.append(
            [
                name,
                seconds(programs[OURS]),
                seconds(programs[PLAIN]) if both else "",
                times(ratio(taken, PLAIN, OURS)) if both else "",
            ]
        )
    header = ["task", OURS, PLAIN, "times as fast"]
    return f"{result['conditions']}.\n\n{table(header, rows)}"


if __name__ == "__main__":
    command("numerics", measure, tables)
