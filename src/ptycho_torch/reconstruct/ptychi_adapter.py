"""pty-chi's rPIE and LSQML with our arrays and conventions: the optional extra `baseline`.

What differs there and is minded here (pty-chi 2.2): positions are window centres and the object's
origin is given, half a pixel off for even N; the transform is not normalised, so the probe is
divided by N; `random_seed` does not reach the order of frames, the loader's own generator does;
every ten iterations object and probe are rescaled, which is switched off; updates of a batch are
summed, so batches of overlapping frames must be small; it imports torchvision for one blur that
these engines never call.

Letters: n frames, M probe modes, H rows, W columns of a frame, Y rows, X columns of the canvas.

Pty-chi: https://github.com/AdvancedPhotonSource/pty-chi. LSQML: M. Odstrcil, A. Menzel and M.
Guizar-Sicairos, Opt. Express 26, 3108 (2018), doi:10.1364/OE.26.003108.
"""

import importlib.util
import logging
import sys
import time
from types import ModuleType
from typing import Any, Literal

import numpy as np
import torch
from numpy.typing import NDArray

from ptycho_torch.config.reconstruct import RpieSettings
from ptycho_torch.physics.predict import predict_amplitudes, r_factor
from ptycho_torch.reconstruct.canvas import Canvas, make_canvas
from ptycho_torch.reconstruct.rpie import OnIteration, Reconstruction, scale_probe, used_frames
from ptycho_torch.reconstruct.solver import Frames
from ptycho_torch.runtime.errors import InputError

logger = logging.getLogger(__name__)

Array = NDArray[Any]
Engine = Literal["ptychi-rpie", "ptychi-lsqml"]

INSTALL = "make setup-baseline, then .venv-baseline/bin/ptycho-torch (docs/own-data.md)"


def reconstruct_ptychi(
    amplitude_nHW: Array,
    positions_n2: Array,
    probe_MHW: Array,
    settings: RpieSettings,
    *,
    engine: Engine = "ptychi-rpie",
    good_1HW: Array | None = None,
    use_n: Array | None = None,
    on_iteration: OnIteration | None = None,
) -> Reconstruction:
    """Reconstruct a scan by pty-chi; arguments and result are those of `reconstruct_rpie`.

    The error of an iteration is the R factor after it, not within it, and its time is not counted.
    LSQML finds its own steps: alpha and step do not apply to it. `stop_change` is not used.

    Raises
    ------
    InputError
        If pty-chi is not installed, the mask differs from frame to frame, or the scan does not fit.
    """
    api, task_class = _import_ptychi()
    used = used_frames(amplitude_nHW, positions_n2, use_n)
    if good_1HW is not None and len(good_1HW) != 1:
        raise InputError("pty-chi takes one mask for all frames, (1, H, W); use our own rPIE")
    # Pty-chi pads, and says so, where less than this is left round the windows.
    canvas = make_canvas(
        positions_n2, amplitude_nHW.shape[-1], margin_px=max(2, settings.margin_px)
    ).only(used)
    probe = scale_probe(probe_MHW, Frames(amplitude_nHW[used], good_1HW), settings)
    observed = amplitude_nHW[used].astype(np.float32)
    if good_1HW is not None:
        observed = np.where(good_1HW, observed, np.float32(0))
    task = task_class(_options(api, settings, engine), **_arrays(observed, canvas, probe, good_1HW))
    # Its `random_seed` leaves the order of frames alone.
    task.reconstructor.dataloader.generator.manual_seed(settings.seed)
    positions = np.asarray(positions_n2, np.float64)[used]
    side = observed.shape[-1]
    errors, seconds = [], []
    for number in range(1, settings.iterations + 1):
        begin = time.perf_counter()
        task.run(1)
        seconds.append(time.perf_counter() - begin)
        found, refined = _results(task, side)
        predicted = predict_amplitudes(found, refined, positions, origin=canvas.origin)
        errors.append(r_factor(predicted, observed, good_1HW))
        if on_iteration is not None:
            on_iteration(number, errors[-1])
        if not np.isfinite(errors[-1]):
            break
    return Reconstruction(
        object_YX=found,
        origin=canvas.origin,
        probe_MHW=refined,
        light_YX=canvas.illumination(torch.from_numpy(refined)).numpy(),
        error=tuple(errors),
        seconds=tuple(seconds),
        stopped="iterations" if np.isfinite(errors[-1]) else "non_finite",
    )


def _import_ptychi() -> tuple[Any, Any]:
    """Return pty-chi's `api` and its task, or say what is missing and how to get it."""
    if "ptychi" not in sys.modules and importlib.util.find_spec("ptychi") is None:
        raise InputError(f"the package ptychi (extra `baseline`) is not installed here: {INSTALL}")
    if "torchvision" not in sys.modules and importlib.util.find_spec("torchvision") is None:
        logger.info("no torchvision here; pty-chi is given a stand-in for the blur it imports")
        sys.modules |= _stand_in()
    try:
        import ptychi.api as api
        from ptychi.api.task import PtychographyTask
    except (ImportError, RuntimeError) as error:
        raise InputError(f"ptychi cannot be imported ({error}): {INSTALL}") from None
    return api, PtychographyTask


def _stand_in() -> dict[str, ModuleType]:
    """Return modules named torchvision whose only part refuses to be used."""

    class GaussianBlur:
        def __init__(self, *_: Any, **__: Any) -> None:
            raise RuntimeError("torchvision is not installed; this blur needs it")

    package, transforms = ModuleType("torchvision"), ModuleType("torchvision.transforms")
    transforms.GaussianBlur = GaussianBlur  # type: ignore[attr-defined]
    package.transforms = transforms  # type: ignore[attr-defined]
    return {"torchvision": package, "torchvision.transforms": transforms}


def _options(api: Any, settings: RpieSettings, engine: Engine) -> Any:
    options = api.RPIEOptions() if engine == "ptychi-rpie" else api.LSQMLOptions()
    thing, probe = options.object_options, options.probe_options
    if engine == "ptychi-rpie":
        thing.alpha, probe.alpha = settings.alpha, settings.probe_alpha
        thing.step_size, probe.step_size = settings.object_step, settings.probe_step
    else:
        # It would rescale a known probe in its first iteration.
        options.reconstructor_options.rescale_probe_intensity_in_first_epoch = False
    thing.determine_position_origin_coords_by = api.ObjectPosOriginCoordsMethods.SPECIFIED
    thing.position_origin_coords = [0.5, 0.5]
    thing.remove_object_probe_ambiguity.enabled = False
    probe.optimizable = settings.refine_probe
    probe.optimization_plan.start = settings.probe_from_iteration - 1
    options.probe_position_options.optimizable = False
    run = options.reconstructor_options
    run.num_epochs = settings.iterations
    run.batch_size = settings.batch_size or 10_000_000
    run.default_device = api.Devices.CPU
    run.random_seed = settings.seed
    return options


def _arrays(
    observed_nHW: Array, canvas: Canvas, probe_MHW: Array, good_1HW: Array | None
) -> dict[str, Any]:
    side = observed_nHW.shape[-1]
    # Window centres, less the half pixel that the origin adds.
    centres = (canvas.whole_n2 + canvas.fraction_n2).numpy() + side / 2 - 1
    arrays = {
        "diffraction_data": np.square(observed_nHW),
        "object_data": np.ones((1, *canvas.shape), np.complex64),
        "probe_data": (probe_MHW / side).astype(np.complex64)[None],
        "probe_position_x_px": centres[:, 1],
        "probe_position_y_px": centres[:, 0],
    }
    if good_1HW is not None:
        arrays["valid_pixel_mask"] = good_1HW[0]
    return arrays


def _results(task: Any, side_px: int) -> tuple[Array, Array]:
    """Return the object, (Y, X), and the probe, (M, H, W), in our units."""
    found = np.asarray(task.get_data_to_cpu("object", as_numpy=True))[0]
    probe = np.asarray(task.get_data_to_cpu("probe", as_numpy=True))[0] * side_px
    return found.astype(np.complex64), probe.astype(np.complex64)
