"""Snakemake logger plugin: a study's progress, and target names after `--resources`.

Snakemake imports modules of this name before it parses its arguments, which is what makes
`snakemake --cores 4 --resources gpu=1 stage_a_summary` work as people type it.
"""

import sys
from pathlib import Path

from ptycho_torch.runtime.disk import read_text
from ptycho_torch.runtime.errors import InputError
from snakemake_logger_plugin_ptycho.progress import LogHandler

__all__ = ["LogHandler"]

# Options whose values are NAME=VALUE pairs, and those whose values are configuration files.
PAIR_OPTIONS = frozenset(
    {"--resources", "--res", "--config", "-C", "--default-resources", "--set-threads"}
    | {"--set-resources", "--resource-scopes"}
)
FILE_OPTIONS = frozenset({"--configfile", "--configfiles"})


def targets_first(words: list[str]) -> list[str]:
    """Return the arguments with targets that stand behind such a list moved to the front.

    Plain Snakemake takes every word after `--resources` for a resource, and every one after
    `--configfile` for a file, and fails on a target. In front of everything, no option can
    take it. A configuration file that is not UTF-8 ends in one line, not in its traceback.
    """
    targets: list[str] = []
    kept: list[str] = []
    option = ""
    for position, word in enumerate(words):
        if word == "--":
            return [*targets, *kept, *words[position:]]
        is_target = False
        if word.startswith("-"):
            option = word
        elif option in PAIR_OPTIONS:
            # Snakemake hands such pairs in base64 to the jobs that it starts on a cluster.
            is_target = "=" not in word and not word.startswith("base64//")
        elif option in FILE_OPTIONS:
            # A study may have any name; a target without an ending is no file.
            is_file = Path(word).is_file()
            known = is_file or word.endswith((".yaml", ".yml", ".json"))
            is_target = not known or word.startswith("results/")
            try:
                if is_file:
                    read_text(word)
            except InputError as error:
                sys.exit(str(error))
        (targets if is_target else kept).append(word)
    return targets + kept


if sys.argv and sys.argv[0].replace("\\", "/").endswith(("/snakemake", "snakemake/__main__.py")):
    sys.argv[1:] = targets_first(sys.argv[1:])
