"""A reading as the flags that give it."""

from ptycho_torch.config.scan import ScanConventions


def flags(reading: ScanConventions) -> str:
    """Return the command-line flags that give a reading; none for what is at its default."""
    words = []
    for name, value in reading.model_dump(exclude_defaults=True).items():
        flag = "--" + name.replace("_", "-")
        words.append(flag if value is True else f"{flag} {value}")
    return " ".join(words)


def label(reading: ScanConventions) -> str:
    """Return flags in short, or words for a reading without any."""
    return flags(reading) or "as the layout has it"
