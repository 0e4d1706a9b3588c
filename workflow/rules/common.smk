"""The study's settings, and what several rules share."""

import functools
import hashlib
import json
import os
from dataclasses import asdict
from pathlib import Path

from snakemake.exceptions import WorkflowError
from snakemake.utils import update_config

try:
    from ptycho_torch.config.study import derive, fit_settings, run_settings
    from ptycho_torch.config.plan import seed_blocks, stage_names, stage_plan, untrained_networks
    from ptycho_torch.config.read import parse_study, read_sources, typed_overrides
    from ptycho_torch.files.io import sha256
    from ptycho_torch.runtime.provenance import code_behind, keep_text, listing
    from ptycho_torch.runtime.locks import has_gpu
except ModuleNotFoundError as error:
    raise WorkflowError(
        f"{error}: the project's environment is not active; run `make setup`, then "
        "`source .venv/bin/activate`"
    )

# For the jobs: threads that wait for each other let other programs have the core meanwhile.
os.environ.setdefault("OMP_WAIT_POLICY", "passive")

checksum = functools.cache(sha256)

PROJECT = Path(workflow.basedir)
PACKAGE = PROJECT / "src" / "ptycho_torch"
CONVENTIONAL = "results/reconstruct/{dataset}/rpie"

try:
    source = read_sources(workflow.configfiles)
    if overrides := workflow.config_settings.config:
        source += f" + --config ({', '.join(overrides)})"
        update_config(config, typed_overrides(overrides))
    STUDY = parse_study(config, source)
except ValueError as error:
    raise WorkflowError(str(error))


def one_of(names) -> str:
    """Pattern of any of these names."""
    return f"(?:{'|'.join(map(re.escape, names))})"


wildcard_constraints:
    dataset=one_of(STUDY.datasets),
    arm=one_of([*STUDY.arms, *derive(STUDY).variants]),
    seed=r"\d+",


def sources(script: str) -> str:
    """The list of the code behind a script, as an input: the script and what it imports.

    An edit there makes a stage's results out of date; Snakemake itself never looks at src/.
    The list is brought up to date here, at every call of snakemake, and keeps its date while it
    says the same (docs/adr/0010).
    """
    files = code_behind(PROJECT / "workflow" / "scripts" / script, PACKAGE)
    listed = f"results/sources/{Path(script).stem}.txt"
    try:
        keep_text(Path(listed), listing(files, PROJECT))
    except ValueError as error:
        raise WorkflowError(str(error)) from None
    return listed


def settings_that_decide() -> dict:
    """The study without its words and without what no decision reads: editing those decides
    nothing anew."""
    study = STUDY.model_dump(mode="json", exclude={"conventional", "parity", "real_data"})
    for arm in study["arms"].values():
        arm["hypothesis"] = "-"
    return study | {"title": "This study", "seeds_per_job": 1}


def without_title() -> dict:
    """The study as a stage's summary needs it: its title is on the study's own pages alone."""
    return STUDY.model_dump(mode="json") | {"title": "This study", "seeds_per_job": 1}


def files_of_runs(plan, folder: str, file: str, looks: int | None = None) -> list[str]:
    """One file of every run of a stage, arm by arm; behind all of its planned looks, or so many."""
    looks = len(plan.looks) - 1 if looks is None else looks
    runs = plan.runs_after(undecided_after(plan, looks))
    return [f"results/{folder}/{plan.dataset}/{arm}/seed-{seed}/{file}" for arm, seed in runs]


def undecided_after(plan, looks: int) -> list[list[str]]:
    """The arms that each of so many looks at a stage left undecided, up to one that left none."""
    found = []
    for number in range(1, looks + 1):
        with checkpoints.look.get(stage=plan.name, number=number).output.look.open() as handle:
            found.append(json.load(handle)["undecided"])
        if not found[-1]:
            break
    return found


def looked_at(folder: str, file: str):
    """One file of every run that a look at a stage sees."""
    return lambda wildcards: files_of_runs(
        plan_of(wildcards.stage), folder, file, int(wildcards.number) - 1
    )


def winner_of_stage_a() -> str:
    """The winner; until Stage A has been decided, what depends on it cannot be planned."""
    with checkpoints.stage_a_winner.get().output.winner.open() as handle:
        return json.load(handle)["winner"]


def plan_of(stage: str):
    """A stage's arms and seeds; Stage B's once its winner is known."""
    return stage_plan(STUDY, stage, winner_of_stage_a() if stage == "stage_b" else None)


def waits(stage: str) -> bool:
    """Whether a stage's runs are known only behind a winner or a look."""
    return stage == "stage_b" or bool(plan_of(stage).looks)


def runs_of(stage: str, folder: str, file: str):
    """One file of every run of a stage: a list, or a function that waits for Stage B's winner, or
    for the planned looks."""
    if waits(stage):
        return lambda wildcards: files_of_runs(plan_of(stage), folder, file)
    return files_of_runs(plan_of(stage), folder, file)


def command_for(target: str) -> str:
    """What makes a target again; a file outside the project is named without its folder."""
    files = [Path(f) for f in workflow.overwrite_configfiles]
    names = [f.relative_to(PROJECT) if f.is_relative_to(PROJECT) else f.name for f in files]
    more = [f"--configfile {name}" for name in names]
    if overrides := workflow.config_settings.config:
        more.append(f"--config ... (of {', '.join(overrides)})")
    return " ".join(["snakemake", target, "--cores 4", *more])


def files_for_dataset(wildcards) -> list[str]:
    """Files that a dataset is made from: another program's splits, or a probe's file."""
    dataset = STUDY.datasets[wildcards.dataset]
    if dataset.source == "files":
        return [dataset.train, dataset.validation, dataset.test]
    return [dataset.probe.path] if dataset.probe.shape == "file" else []


def content_of_files(wildcards) -> dict[str, str]:
    """Checksums of the files that a dataset is made from: their content decides, not their dates,
    so that an older file in place of a newer one makes the dataset again."""
    files = [path for path in files_for_dataset(wildcards) if Path(path).is_file()]
    return {path: checksum(path) for path in files}


def settings_of_run(wildcards) -> dict:
    """Settings in force for one arm and no other, so that editing one arm reruns that arm only.

    With seed 0, since the job's folders say its seeds: the same runs, however many a job trains.
    """
    return settings_of_arm(wildcards.dataset, wildcards.arm)


@functools.cache
def settings_of_arm(dataset: str, arm: str) -> dict:
    """As `settings_of_run`, worked out once for all of an arm's jobs."""
    return run_settings(STUDY, dataset, arm, 0).model_dump(mode="json")


def gpus_of_run(wildcards) -> int:
    """GPUs that a training takes: none where it computes on this machine's CPU, so that trainings
    fill its cores. On a cluster another machine computes, and what is asked for is asked of it."""
    execution = settings_of_run(wildcards)["execution"]
    here = workflow.local_exec and not workflow.remote_exec
    on_cpu = execution["accelerator"] == "cpu" or (
        execution["accelerator"] == "auto" and here and not has_gpu()
    )
    return 0 if on_cpu else execution["devices"]


def block_name(rule: str, seeds: tuple[int, ...]) -> str:
    """Name of the rule that does for several seeds what `rule` does for one."""
    return "_".join([rule, *map(str, seeds)])


SEED_BLOCKS = seed_blocks(STUDY)


def outside_blocks() -> str:
    """Pattern of the dataset in the path of a run that no block has.

    With two rules for one file Snakemake plans the jobs of both and drops one, for each run of a
    block.
    """
    blocks: dict[tuple[str, str], list[str]] = {}
    for dataset, seeds, arms in SEED_BLOCKS:
        runs = blocks.setdefault((re.escape(dataset), one_of(arms)), [])
        runs += map(str, seeds)
    not_in = (
        f"(?!{dataset}/{arm}/seed-{one_of(runs)}/)" for (dataset, arm), runs in blocks.items()
    )
    return "".join(not_in) + one_of(STUDY.datasets)


def diagnosed_runs(file: str):
    """One file of every run to be diagnosed, each once, of one dataset in a job of one dataset.

    A function that waits for Stage A's winner where Stage B is among the stages.
    """

    def files(wildcards) -> list[str]:
        wanted = getattr(wildcards, "dataset", None)
        plans = [plan for plan in map(plan_of, DIAGNOSED) if wanted in (None, plan.dataset)]
        found = [path for plan in plans for path in files_of_runs(plan, "train", file)]
        return list(dict.fromkeys(found))

    return files


def diagnoses(file: str) -> list[str]:
    """A report of each dataset: of untrained networks, and of runs where any are asked for."""
    kinds = ("fresh", "trained") if DIAGNOSED else ("fresh",)
    return [
        f"results/diagnose/{dataset}/{kind}/{file}"
        for dataset in DIAGNOSED_DATASETS
        for kind in kinds
    ]


def real_objects(measurement: str) -> list[str]:
    """Names of all reconstructions of a measurement: rPIE, and each network at each seed."""
    seeds = STUDY.real_data.seeds
    return ["rpie", *(f"{label}/seed-{n}" for label in STUDY.real_data.networks for n in seeds)]


def of_real_objects(file: str) -> list[str]:
    """One file of every reconstruction of every measurement."""
    return [
        f"results/real_data/{measurement}/{what}/{file}"
        for measurement in STUDY.real_data.measurements
        for what in real_objects(measurement)
    ]


def real_measurement(*keys: str):
    """Those settings of a measurement that a job reads: another reading downloads nothing anew."""
    return lambda wildcards: STUDY.real_data.measurements[wildcards.measurement].model_dump(
        mode="json", include=set(keys)
    )


def real_fit(wildcards) -> dict:
    """Settings in force for one training on a measurement and no other."""
    fit = fit_settings(STUDY, wildcards.measurement, wildcards.label, int(wildcards.seed))
    return fit.model_dump(mode="json")


def real_fits() -> dict[str, dict]:
    """Settings in force for every training on a measurement, by "measurement/label/seed"."""
    real = STUDY.real_data
    return {
        f"{name}/{label}/{seed}": fit_settings(STUDY, name, label, seed).model_dump(mode="json")
        for name in real.measurements
        for label in real.networks
        for seed in real.seeds
    }
