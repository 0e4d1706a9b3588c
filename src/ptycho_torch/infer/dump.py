"""The debug dump of an inference: the scales that reached the network, patches, stitched object.

Letters: I images, P patches, H rows, W columns of a patch, Y rows, X columns of a stitched image.
"""

from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ptycho_torch import __version__
from ptycho_torch.config.scan import InferSettings, ScanConventions
from ptycho_torch.data.patch_statistics import write_patch_statistics
from ptycho_torch.data.read import read_scan
from ptycho_torch.data.scales import Scales
from ptycho_torch.data.scan import Scan
from ptycho_torch.files.io import PathLike, npz_keys, read_npz
from ptycho_torch.infer.parity.dump import Dump
from ptycho_torch.infer.parity.files import write_dump
from ptycho_torch.infer.run import Inference, infer_scan
from ptycho_torch.networks.bundle import Bundle, read_bundle
from ptycho_torch.physics.predict import illuminated
from ptycho_torch.runtime.errors import InputError


def inference_dump(bundle: Bundle, scan: Scan, found: Inference) -> Dump:
    """Return what a bundle saw in a scan, with the scales in force there.

    The intensity scale is that of the amplitudes as they entered the network: the file's times
    what they were divided by, so that it shows what was done and not what was meant; where the
    file says no photons it is the bundle's.
    """
    known, wanted = bundle.settings, found.report["settings"]["scale"]
    own = wanted if isinstance(wanted, float) else scan.intensity_scale
    whole = found.stitched
    seen = np.where(illuminated(whole.coverage_YX), whole.object_YX, np.nan)
    patches = found.patches_GCHW.reshape(-1, *found.patches_GCHW.shape[-2:])
    return Dump(
        stitched_IYX=(seen * known.norm_Y_I).astype(np.complex64)[None],
        made_by=f"inference by ptycho-torch {__version__}, bundle trained on {known.dataset}, on "
        f"{Path(scan.source).name}",
        scales=Scales(
            input_scale=known.input_scale,
            intensity_scale=known.intensity_scale if own is None else own * found.unit,
            intensity_scale_source=known.intensity_scale_source,
            norm_Y_I=known.norm_Y_I,
        ),
        origin_2=whole.origin_2.astype(np.float64),
        patches_PHW=patches,
        positions_P2=scan.positions_n2[found.members_GC].reshape(-1, 2),
        source=scan.source,
    )


def write_extras(
    bundle: Bundle,
    scan: Scan,
    found: Inference,
    folder: Path,
    *,
    debug_dump: PathLike | None,
    limit: int | None,
) -> None:
    """Write a dump into its own folder, and statistics of at most `limit` patches into `folder`;
    None: not."""
    dump = inference_dump(bundle, scan, found)
    if debug_dump is not None:
        write_dump(debug_dump, dump)
    if limit is not None:
        assert dump.patches_PHW is not None
        write_patch_statistics(
            folder, dump.patches_PHW, dump.scales, limit=limit, made_by=dump.made_by
        )


def infer_split(model: PathLike, split: PathLike, settings: InferSettings) -> Dump:
    """Use the bundle in folder `model` on every image of a dataset split; return one dump.

    Raises
    ------
    InputError
        As `read_bundle`, `read_scan` and `infer_scan`; or if the images' canvases differ.
    """
    bundle = read_bundle(model)
    images = 1
    if "image_index" in npz_keys(split):
        images = int(read_npz(split, "image_index")["image_index"].max()) + 1
    dumps = []
    for image in range(images):
        scan = read_scan(split, ScanConventions(image=image))
        dumps.append(inference_dump(bundle, scan, infer_scan(bundle, scan, settings)))
    return dumps[0] if images == 1 else _stack(dumps, str(split))


def _stack(dumps: list[Dump], source: str) -> Dump:
    first = dumps[0]
    assert first.origin_2 is not None
    for dump in dumps[1:]:
        assert dump.origin_2 is not None
        same = np.array_equal(dump.origin_2, first.origin_2)
        if dump.stitched_IYX.shape != first.stitched_IYX.shape or not same:
            raise InputError(
                f"{source}: its images were scanned over different canvases, "
                f"{first.stitched_IYX.shape[1:]} and {dump.stitched_IYX.shape[1:]} px; one dump "
                "holds images of one canvas"
            )
    counts = [0 if dump.patches_PHW is None else len(dump.patches_PHW) for dump in dumps]
    return Dump(
        stitched_IYX=np.concatenate([dump.stitched_IYX for dump in dumps]),
        made_by=first.made_by,
        scales=first.scales,
        origin_2=first.origin_2,
        patches_PHW=_joined([dump.patches_PHW for dump in dumps]),
        positions_P2=_joined([dump.positions_P2 for dump in dumps]),
        image_P=np.repeat(np.arange(len(dumps)), counts),
        source=source,
    )


def _joined(parts: list[Any]) -> NDArray[Any]:
    return np.concatenate([part for part in parts if part is not None])
