"""Snakemake logger plugin: a study's progress, and target names after `--resources`.

Snakemake imports modules of this name before it parses its arguments, which is what makes
`snakemake --cores 4 --resources gpu=1 stage_a_summary` work as people type it.
"""

import sys

from snakemake_logger_plugin_ptycho.arguments import targets_first
from snakemake_logger_plugin_ptycho.progress import LogHandler

__all__ = ["LogHandler"]

if sys.argv and sys.argv[0].replace("\\", "/").endswith(("/snakemake", "snakemake/__main__.py")):
    sys.argv[1:] = targets_first(sys.argv[1:])
