"""Draw docs/img/findings_failures.png from the table of runs: how and when runs failed."""

from pathlib import Path

import pandas as pd

from ptycho_torch.runtime.plot_style import COLOURS, INK, PALE, REFERENCE, new_figure, styled

HERE = Path(__file__).parent
KINDS = {
    "completed": (["completed"], COLOURS[3]),
    "no better than a constant object": (["stagnated", "misfit"], COLOURS[5]),
    "collapsed": (["collapsed"], COLOURS[1]),
    "exploded": (["exploded", "non_finite"], COLOURS[2]),
}


def main() -> None:
    """Draw both panels."""
    runs = pd.read_csv(HERE / "medium_stress_runs.csv")
    runs["rate"] = runs["arm"].str.extract(r"learning_rate-([\d.]+)")[0].astype(float)
    runs["base"] = runs["arm"].str.extract(r"^([a-z]+)")[0]
    rates, arms = sorted(runs["rate"].unique()), list(runs["base"].unique())
    with styled():
        figure = new_figure(9.5, 3.6)
        left, right = figure.subplots(1, 2, width_ratios=[1, 1.5])
        bottom = pd.Series(0, index=rates)
        for name, (outcomes, colour) in KINDS.items():
            share = runs["outcome"].isin(outcomes).groupby(runs["rate"]).sum()
            left.bar(range(len(rates)), share, bottom=bottom, color=colour, label=name, width=0.7)
            bottom += share
        left.set_xticks(range(len(rates)), [f"{rate:g}" for rate in rates])
        left.set(xlabel="learning rate", ylabel="runs")
        left.legend(loc="upper center", bbox_to_anchor=(0.5, -0.2), ncols=2)
        for kind in ("collapsed", "exploded"):
            outcomes, colour = KINDS[kind]
            mine = runs[runs["outcome"].isin(outcomes)]
            places = mine["base"].map(arms.index) + (mine["seed"] - 2) * 0.12
            right.plot(mine["failure_step"], places, "x", color=colour, markersize=5)
        right.axvline(25, color=PALE)
        right.annotate("ZClip acts from here", (26, 6.65), fontsize=8, color=REFERENCE)
        right.axvline(312, color=PALE)
        right.annotate(" end of epoch 1", (312, 6.65), fontsize=8, color=REFERENCE)
        right.set_yticks(range(len(arms)), arms)
        right.set(xscale="log", xlabel="step of failure", ylim=(-0.6, 7.1))
        right.tick_params(colors=INK)
        figure.savefig(HERE.parent / "img" / "findings_failures.png")


if __name__ == "__main__":
    main()
