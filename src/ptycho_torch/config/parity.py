"""What `snakemake parity` holds against each other, and how closely it must agree."""

from ptycho_torch.config.base import Fraction, Name, Seed, Settings


class ParitySettings(Settings):
    """Training and inference of one run, and two ways of stitching; no run depends on these."""

    arm: Name | None = None
    """Arm of the run on Stage A's dataset; null: Stage A's control."""

    seed: Seed | None = None
    """Its seed; null: Stage A's first."""

    tolerance: Fraction = 0.1
    """Training and inference: what a ratio of scale or variance may deviate from 1, a relative
    MAE may be, an SSIM may lack to 1."""

    rounding: Fraction = 1e-3
    """Training and inference: largest ||A - B|| / ||A|| of a patch, which is seen by the same
    weights through both. On one device it is 1e-6 or less."""

    reassembly: Fraction = 0.05
    """Central tiles and whole patches weighted by the probe: largest mean difference of the
    amplitudes over their mean. Measured on 22 different trained runs at N=32: 0.021 to 0.032."""
