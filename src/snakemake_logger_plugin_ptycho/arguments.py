"""Let target names follow options that take a list."""

from pathlib import Path

PAIR_OPTIONS = frozenset(
    {"--resources", "--res", "--config", "-C", "--default-resources", "--set-threads"}
    | {"--set-resources", "--resource-scopes"}
)
"""Options whose values are NAME=VALUE pairs."""

FILE_OPTIONS = frozenset({"--configfile", "--configfiles"})
"""Options whose values are configuration files."""

_ENCODED = "base64//"
"""How Snakemake hands such pairs to the jobs that it starts on a cluster."""

_CONFIG_ENDINGS = (".yaml", ".yml", ".json")


def targets_first(words: list[str]) -> list[str]:
    """Return the arguments with targets that stand behind such a list moved to the front.

    Plain Snakemake takes every word after `--resources` for a resource, and every one after
    `--configfile` for a file, and fails on a target. In front of everything, no option can
    take it.
    """
    targets: list[str] = []
    kept: list[str] = []
    option = ""
    for position, word in enumerate(words):
        if word == "--":
            kept += words[position:]
            break
        if word.startswith("-"):
            option = word
        elif _ends_the_list(option, word):
            targets.append(word)
            continue
        kept.append(word)
    return targets + kept


def _ends_the_list(option: str, word: str) -> bool:
    """Return whether a word cannot be a value of the option that it follows."""
    if option in PAIR_OPTIONS:
        return "=" not in word and not word.startswith(_ENCODED)
    if option in FILE_OPTIONS:
        # A study may have any name; a target without an ending is no file.
        known = word.endswith(_CONFIG_ENDINGS) or Path(word).is_file()
        return not known or word.startswith("results/")
    return False
