"""Let target names follow options that take a list of NAME=VALUE pairs."""

LIST_OPTIONS = frozenset({"--resources", "--res", "--config", "-C", "--default-resources"})


def targets_first(words: list[str]) -> list[str]:
    """Return the arguments with targets that stand behind a NAME=VALUE list moved to the front.

    Plain Snakemake takes every word after `--resources` for a resource and fails on a target.
    A resource has an `=`; a word without one, up to the next option, is a target. In front of
    everything, no option can take it.
    """
    targets: list[str] = []
    kept: list[str] = []
    in_list = False
    for position, word in enumerate(words):
        if word == "--":
            kept += words[position:]
            break
        if word.startswith("-"):
            in_list = word in LIST_OPTIONS
        elif in_list and "=" not in word:
            targets.append(word)
            continue
        kept.append(word)
    return targets + kept
