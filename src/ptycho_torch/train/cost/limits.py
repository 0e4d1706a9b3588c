"""Settings whose effect a plan does not know, in words."""

from collections.abc import Iterable

from ptycho_torch.config.training import RunSettings


def not_counted(runs: Iterable[RunSettings]) -> list[str]:
    """Return a sentence for each setting of these runs that a plan leaves out."""
    found: dict[str, None] = {}
    for run in runs:
        execution = run.execution
        if execution.precision == "bf16":
            found["execution.precision bf16: memory is counted in float32; time is as probed."] = (
                None
            )
        if execution.compile:
            found[
                "execution.compile: memory is that of the network uncompiled; neither the "
                "compiler's memory nor its time is counted."
            ] = None
        if execution.cuda_graphs:
            found["execution.cuda_graphs: what the recordings keep on the GPU is not counted."] = (
                None
            )
    return list(found)
