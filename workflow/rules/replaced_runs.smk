"""What is said before anything runs: finished runs that are made again in their place."""

from snakemake.logging import logger

from ptycho_torch.files.belonging import differences


def replaced_runs() -> str:
    """Say which finished runs were made with other settings than the study's, if there are any:
    Snakemake makes them again in their place, without asking."""
    data, changed, count = {}, {}, 0
    for name, dataset in STUDY.datasets.items():
        record = Path(f"results/simulate/{name}/dataset.json")
        was = json.loads(record.read_bytes())["settings"] if record.is_file() else None
        made_as = {"datasets": {name: dataset.published()}}
        data[name] = [] if was is None else [*differences({"datasets": {name: was}}, made_as)]
    known = {*STUDY.arms, *derive(STUDY).variants}
    for path in sorted(Path("results/train").glob("*/*/seed-*/run.json")):
        name, arm = path.parts[2:4]
        if name not in data or arm not in known:
            continue
        was = json.loads(path.read_bytes())["settings"] | {"seed": 0}
        said = [*data[name], *differences(was, settings_of_arm(name, arm), but=frozenset())]
        changed |= dict.fromkeys(said)
        count += bool(said)
    if not count:
        return ""
    more = f", and {len(changed) - 3} more" if len(changed) > 3 else ""
    return (
        f"{count} finished run{'s were' if count > 1 else ' was'} made with other settings "
        f"({'; '.join([*changed][:3])}{more}): what is asked for of them is trained again in their "
        "place; --directory OTHER keeps them\n"
    )


if workflow.is_main_process:
    try:
        if said := replaced_runs():
            logger.info(said)
    except (OSError, ValueError, KeyError, TypeError):
        pass  # A record that cannot be read is told by the job that needs it.
