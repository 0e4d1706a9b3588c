"""pty-chi's rPIE with our arrays and conventions: the optional extra `baseline`.

What differs there and is minded here (pty-chi 2.2): positions are window centres and the object's
origin is given, half a pixel off for even N; the transform is not normalised, so the probe is
divided by N; `random_seed` does not reach the order of frames, the loader's own generator does;
every ten iterations object and probe are rescaled, which is switched off; updates of a batch are
summed, so batches of overlapping frames must be small; it imports torchvision for one blur that
this engine never calls.

Pty-chi: https://github.com/AdvancedPhotonSource/pty-chi.
"""

import importlib.util
import sys
import time
from types import ModuleType
from typing import Any

import numpy as np

from ptycho_torch.config.scan import RpieSettings
from ptycho_torch.data.scan import Array
from ptycho_torch.physics.predict import predict_amplitudes, r_factor
from ptycho_torch.reconstruct.problem import Problem
from ptycho_torch.runtime.errors import InputError

INSTALL = "make setup-baseline, then .venv-baseline/bin/ptycho-torch (docs/own-data.md)"


class Ptychi:
    """A task of pty-chi in the place of our engine; raises `InputError` as `reconstruct`."""

    def __init__(self, problem: Problem, settings: RpieSettings) -> None:
        api, task_class = _import_ptychi()
        self.good = problem.good_nHW
        if self.good is not None and len(self.good) != 1:
            raise InputError("pty-chi takes one mask for all frames, (1, H, W); use our own rPIE")
        self.observed_nHW = problem.observed_nHW.astype(np.float32)
        self.positions_n2 = (problem.whole_n2 + problem.fraction_n2).numpy()
        self.side_px = self.observed_nHW.shape[-1]
        # Window centres, less the half pixel that the origin adds.
        centres = self.positions_n2 + self.side_px / 2 - 1
        arrays = {
            "diffraction_data": np.square(self.observed_nHW),
            "object_data": problem.start_YX[None].astype(np.complex64),
            "probe_data": (problem.probe_MHW / self.side_px).astype(np.complex64)[None],
            "probe_position_x_px": centres[:, 1],
            "probe_position_y_px": centres[:, 0],
        }
        if self.good is not None:
            arrays["valid_pixel_mask"] = self.good[0]
        frames = len(self.observed_nHW)
        self.task = task_class(_options(api, settings, frames), **arrays)
        # Its `random_seed` leaves the order of frames alone.
        self.task.reconstructor.dataloader.generator.manual_seed(settings.seed)

    def iterate(self, _number: int) -> tuple[float, float]:
        """Iterate once; return the R factor after it, and its seconds without that."""
        begin = time.perf_counter()
        self.task.run(1)
        taken_s = time.perf_counter() - begin
        predicted = predict_amplitudes(*self.results(), self.positions_n2)
        return r_factor(predicted, self.observed_nHW, self.good), taken_s

    def results(self) -> tuple[Array, Array]:
        """Return the object, (Y, X), and the probe, (M, H, W), in our units."""
        object_YX, probe_MHW = (
            np.asarray(self.task.get_data_to_cpu(name, as_numpy=True))[0]
            for name in ("object", "probe")
        )
        return object_YX.astype(np.complex64), (probe_MHW * self.side_px).astype(np.complex64)


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
    if importlib.util.find_spec("ptychi") is None:
        raise InputError(f"the package ptychi (extra `baseline`) is not installed here: {INSTALL}")
    if importlib.util.find_spec("torchvision") is None:
        package, transforms = ModuleType("torchvision"), ModuleType("torchvision.transforms")
        vars(transforms)["GaussianBlur"] = type("GaussianBlur", (), {})
        vars(package)["transforms"] = transforms
        sys.modules |= {module.__name__: module for module in (package, transforms)}
    import ptychi.api as api
    from ptychi.api.task import PtychographyTask

    return api, PtychographyTask
