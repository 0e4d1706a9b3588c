"""How a scan meets a bundle: in whose units, under whose probe.

Letters: M probe modes, H rows, W columns.
"""

import logging

import numpy as np
from numpy.typing import NDArray

from ptycho_torch.config.scan import InferSettings
from ptycho_torch.data.scan import Scan
from ptycho_torch.data.units import measured_units, probe_of, same_probe, unit_of
from ptycho_torch.networks.bundle import Bundle

logger = logging.getLogger(__name__)


def probe_in_use(bundle: Bundle, scan: Scan, settings: InferSettings) -> NDArray[np.complex64]:
    """Return the normalised probe that weighs patches, (M, H, W); another in the file is said."""
    stored = bundle.probe_MHW.numpy()
    if settings.probe == "file":
        return probe_of(scan)
    if scan.probe_MHW is not None and not same_probe(stored, probe_of(scan)):
        logger.warning(
            "%s: has another probe than the bundle; the bundle's is used (--probe file uses the "
            "file's), and what the network saw in training was the bundle's",
            scan.source,
        )
    return stored


def unit_in_use(
    bundle: Bundle, scan: Scan, settings: InferSettings, probe_MHW: NDArray[np.complex64]
) -> tuple[float, str]:
    """Return what amplitudes are divided by, and where that comes from."""
    scale, source = bundle.settings.intensity_scale, bundle.settings.intensity_scale_source
    wanted = settings.scale
    if wanted == "auto":
        told = scan.intensity_scale is not None and source != "closed_form"
        wanted = "stored" if told else "measured"
    if wanted == "stored":
        unit, said = (
            unit_of(scan, scale),
            f"stored: the file's photons and the bundle's s ({source})",
        )
    elif wanted == "measured":
        unit = measured_units(scan, probe_MHW, 1.0).unit
        said = "measured on the file: the probe and an object of modulus 1 explain its mean"
    else:
        unit, said = scale / wanted, f"given: the file's s is {wanted:g}"
    logger.info("%s: amplitudes are divided by %.6g; %s", scan.source, unit, said)
    return unit, said
