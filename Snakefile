"""The study's table of contents: what is made, in which order. Settings: config/README.md."""

import os

from snakemake.utils import min_version

min_version("9.21.1")

# A study is described whole: a file given by --configfile replaces the embedded default,
# it is not laid over it, so that nothing of the default slips in unseen.
if not workflow.overwrite_configfiles:

    configfile: os.path.join(workflow.basedir, "config", "config.yaml")


# Without a limit, GPU jobs would run side by side; command line and profiles win over this.
workflow.global_resources.setdefault("gpu", 1)


# The environment is the one that `make setup` makes. This image is looked at only with
# `--software-deployment-method apptainer`: run `make setup` in it first.
container: "docker://python:3.11-bookworm"


include: "workflow/rules/common.smk"


# Without a target, everything is made.
rule all:
    default_target: True
    input:
        [f"results/{stage}/summary.md" for stage in stage_names(STUDY)],
        ["results/study/summary.md", "results/index.html"] if STUDY.decision else [],
        "results/diagnose/decision.md",


include: "workflow/rules/simulate.smk"
include: "workflow/rules/train.smk"
include: "workflow/rules/evaluate.smk"
include: "workflow/rules/reconstruct.smk"
include: "workflow/rules/summarise.smk"
include: "workflow/rules/decide.smk"
include: "workflow/rules/publish.smk"
include: "workflow/rules/parity.smk"
include: "workflow/rules/diagnose.smk"
include: "workflow/rules/real_data.smk"
include: "workflow/rules/replaced_runs.smk"


# What goes to a cluster's queue; all else is light and runs where snakemake runs (docs/adr/0008).
# Without a cluster this changes nothing.
QUEUED = {
    "simulate",
    "train",
    "reconstruct",
    "parity_inference",
    "diagnose_fresh",
    "diagnose_runs",
    "real_data_rpie",
    "real_data_train",
    "real_data_infer",
}
QUEUED |= {rule.name for rule in workflow.rules if rule.name.startswith("train_")}
workflow.localrules(*(rule.name for rule in workflow.rules if rule.name not in QUEUED))
