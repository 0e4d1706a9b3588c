"""pty-chi's rPIE with our arrays and conventions, for `make bench-rpie` and the tests' numbers.

What differs there and is minded here (pty-chi 2.2): positions are window centres and the object's
origin is given, half a pixel off for even N; the transform is not normalised, so the probe is
divided by N; `random_seed` does not reach the order of frames, the loader's own generator does;
every ten iterations object and probe are rescaled, which is switched off; updates of a batch are
summed, so batches of overlapping frames must be small; it pads, and says so, where less than 2 px
are left round the windows; it imports torchvision for one blur that this engine never calls.

Pty-chi: https://github.com/AdvancedPhotonSource/pty-chi.
"""

import sys
import time
from types import ModuleType
from typing import Any

import numpy as np

from ptycho_torch.config.scan import RpieSettings
from ptycho_torch.data.scan import Scan
from ptycho_torch.physics.predict import predict_amplitudes, r_factor
from ptycho_torch.reconstruct.rpie import Reconstruction, Rpie

MARGIN_PX = 2


def reconstruct_by_ptychi(scan: Scan, settings: RpieSettings) -> Reconstruction:
    """Return what pty-chi's rPIE makes of a scan without a mask, as our own is returned; the error
    of an iteration is met after it, and its seconds are without that. `ModuleNotFoundError` where
    pty-chi is not installed."""
    # Whatever says where the windows lie: ours, which is not iterated.
    ours = Rpie(scan, settings)
    rows, columns = ours.object_YX.shape
    side, margin = scan.patch_px, 2 * MARGIN_PX
    origin = (ours.origin[0] - MARGIN_PX, ours.origin[1] - MARGIN_PX)
    positions_n2 = scan.positions_n2 - origin
    # Window centres, less the half pixel that the origin adds.
    centres = positions_n2 + side / 2 - 1
    api, task_class = _import_ptychi()
    task = task_class(
        _options(api, settings, len(scan)),
        diffraction_data=np.square(scan.amplitude_nHW.astype(np.float32)),
        object_data=np.ones((1, rows + margin, columns + margin), np.complex64),
        probe_data=(ours.probe_MHW.numpy() / side).astype(np.complex64)[None],
        probe_position_x_px=centres[:, 1],
        probe_position_y_px=centres[:, 0],
    )
    # Its `random_seed` leaves the order of frames alone.
    task.reconstructor.dataloader.generator.manual_seed(settings.seed)
    error, seconds = [], []
    for _ in range(settings.iterations):
        begin = time.perf_counter()
        task.run(1)
        seconds.append(time.perf_counter() - begin)
        object_YX, probe_MHW = (
            np.asarray(task.get_data_to_cpu(name, as_numpy=True))[0].astype(np.complex64)
            for name in ("object", "probe")
        )
        probe_MHW = probe_MHW * np.float32(side)
        predicted = predict_amplitudes(object_YX, probe_MHW, positions_n2)
        error.append(r_factor(predicted, scan.amplitude_nHW))
    return Reconstruction(
        object_YX=object_YX,
        origin=origin,
        probe_MHW=probe_MHW,
        light_YX=np.pad(ours.light(), MARGIN_PX),
        error=tuple(error),
        seconds=tuple(seconds),
        snapshots={},
    )


def _options(api: Any, settings: RpieSettings, frames: int) -> Any:
    options = api.RPIEOptions()
    thing, probe = options.object_options, options.probe_options
    run = options.reconstructor_options
    thing.alpha, probe.alpha = settings.alpha, settings.probe_alpha
    thing.step_size, probe.step_size = settings.object_step, settings.probe_step
    thing.determine_position_origin_coords_by = api.ObjectPosOriginCoordsMethods.SPECIFIED
    thing.position_origin_coords = [0.5, 0.5]
    thing.remove_object_probe_ambiguity.enabled = False
    probe.optimizable = settings.refine_probe
    probe.optimization_plan.start = settings.probe_from_iteration - 1
    options.probe_position_options.optimizable = False
    run.num_epochs = settings.iterations
    run.batch_size = settings.frames_at_once(frames)
    run.default_device = api.Devices.CPU
    run.random_seed = settings.seed
    return options


def _import_ptychi() -> tuple[Any, Any]:
    """Return pty-chi's `api` and its task."""
    package, transforms = ModuleType("torchvision"), ModuleType("torchvision.transforms")
    vars(transforms)["GaussianBlur"] = type("GaussianBlur", (), {})
    vars(package)["transforms"] = transforms
    for module in (package, transforms):
        sys.modules.setdefault(module.__name__, module)
    import ptychi.api as api
    from ptychi.api.task import PtychographyTask

    return api, PtychographyTask
