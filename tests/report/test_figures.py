"""Figures: an arm looks the same in all of them, and all of them can be read at their size."""

from itertools import combinations

import numpy as np
import pytest
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.colors import to_hex
from matplotlib.text import Text
from tests.report.planted_runs import CONFIG

from ptycho_torch.config.read import load_yaml, parse_study
from ptycho_torch.config.study import derive
from ptycho_torch.report.figures import (
    areas,
    learning_curves,
    loss_by_rate,
    metric_spread,
    overview,
    reconstructions,
)
from ptycho_torch.runtime import plot_style
from ptycho_torch.runtime.plot_style import RPIE, arm_looks, new_figure, styled, use_log_scale

MEDIUM = CONFIG.with_name("medium.yaml")
DEEP = "-fno_blocks-8"
FAILING = {
    ("control", 0): "exploded",
    ("control" + DEEP, 0): "exploded",
    ("agc" + DEEP, 1): "exploded",
}


@pytest.fixture(scope="module")
def drawn(values_of):
    """Every kind of figure of a stage, by stage and name."""
    plans = {
        "stage_a": {"conventional": True, "outcomes": FAILING},
        "pivot": {"conventional": True, "outcomes": FAILING},
        "stage_b": {"winner": "stable"},
        "clip_sweep": {},
        "stress": {
            "seeds": [0, 1, 2, 3, 4],
            "outcomes": {
                ("agc" + DEEP + "-learning_rate-0.05-epochs-3-schedule-constant", 0): "exploded"
            },
        },
    }
    figures = {}
    with styled():
        for stage, plan in plans.items():
            values = values_of(stage=stage, **{"seeds": [0, 1, 2], **plan})
            collected, stress = values["f"], values["stress"]
            if stress:
                figures[stage, "loss_by_rate"] = loss_by_rate(collected, stress)
                figures[stage, "areas"] = areas(collected, stress)
                continue
            for draw in (learning_curves, metric_spread, reconstructions):
                figures[stage, draw.__name__] = draw(collected)
            figures[stage, "overview"] = overview(collected.runs, collected.study, [0.2, 1.0, 1.0])
        for figure in figures.values():
            FigureCanvasAgg(figure).draw()
    return figures


def colours_of(axes):
    """The colours of lines that are neither reference nor failure."""
    grey = {plot_style.INK, plot_style.REFERENCE, RPIE}
    return {to_hex(line.get_color()) for line in axes.lines} - {colour.lower() for colour in grey}


def test_an_arm_has_the_colour_of_its_place_in_the_study_in_every_figure(drawn):
    study = parse_study(load_yaml(CONFIG), "config")
    of_arm = dict(zip(study.arms, map(str.lower, plot_style.COLOURS), strict=False))
    seen = set()
    for (stage, name), figure in drawn.items():
        if name == "learning_curves":
            for axes in figure.axes:
                arm = axes.get_title().partition("\n")[0]
                if not arm.startswith("Runs"):
                    assert colours_of(axes) == {of_arm[arm.partition("-")[0]]}, (stage, arm)
                    seen.add(arm)
        elif name == "loss_by_rate":
            handles, labels = figure.axes[0].get_legend_handles_labels()
            lines = {
                label: handle
                for handle, label in zip(handles, labels, strict=True)
                if label in of_arm
            }
            assert {k: to_hex(line[0].get_color()) for k, line in lines.items()} == {
                k: of_arm[k] for k in lines
            }
            assert len(lines) == 3
        elif name != "reconstructions":
            labels = [
                text.get_text().partition(",")[0] for text in figure.axes[0].get_yticklabels()
            ]
            for place, arm in enumerate(labels):
                mine = [
                    line
                    for line in figure.axes[0].lines
                    if len(line.get_ydata()) and abs(np.mean(line.get_ydata()) - place) < 0.3
                ]
                found = {to_hex(line.get_color()) for line in mine} - {
                    plot_style.INK,
                    plot_style.REFERENCE,
                }
                assert found == {of_arm[arm.partition("-")[0]]}, (stage, name, arm)
    assert {"control", "control" + DEEP, "norm1-max_norm-3", "layerscale" + DEEP} <= seen


def test_looks_tell_apart_all_arms_and_several_of_one_arm():
    study = parse_study(load_yaml(MEDIUM), "medium")
    looks = arm_looks(study.arms, study.arms)
    assert (
        len({(look["color"], look["linestyle"], look["fillstyle"]) for look in looks.values()}) == 9
    )
    names = ["agc" + DEEP, "agc", "zclip"]
    several = arm_looks(names, study.arms, derive(study).bases)
    assert several["agc"]["color"] == several["agc" + DEEP]["color"] == looks["agc"]["color"]
    assert several["agc"]["marker"] != several["agc" + DEEP]["marker"]
    assert several["zclip"] == looks["zclip"]
    assert RPIE not in plot_style.COLOURS


def written_in(figure):
    """Every text that is drawn, with its place in pixels: ticks out of sight are not."""
    found = {}
    draw = Text.draw

    def record(text, renderer, *more, **options):
        draw(text, renderer, *more, **options)
        if text.get_text() and text.get_visible():
            found[text] = text.get_window_extent(renderer)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(Text, "draw", record)
        FigureCanvasAgg(figure).draw()
    return [(text.get_text(), box) for text, box in found.items()]


def test_nothing_that_is_written_overlaps_or_leaves_the_figure(drawn):
    for where, figure in drawn.items():
        boxes = written_in(figure)
        assert len(boxes) > 5
        width, height = figure.get_size_inches() * figure.dpi
        for text, box in boxes:
            assert min(box.x0, box.y0, width - box.x1, height - box.y1) > -1, (where, text)
        for (one, a), (other, b) in combinations(boxes, 2):
            wide, high = min(a.x1, b.x1) - max(a.x0, b.x0), min(a.y1, b.y1) - max(a.y0, b.y0)
            assert min(wide, high) < 1, (where, one, other)


def test_every_axis_has_ticks(drawn):
    for where, figure in drawn.items():
        for axes in figure.axes:
            if axes.axison and axes.get_label() != "<colorbar>":
                for axis, ends in ((axes.xaxis, axes.get_xlim()), (axes.yaxis, axes.get_ylim())):
                    inside = [
                        tick for tick in axis.get_majorticklocs() if min(ends) <= tick <= max(ends)
                    ]
                    assert len(inside) >= 2, (where, axes.get_title())


@pytest.mark.parametrize("ends", [(0.55, 0.68), (1.6, 2.9), (0.07, 0.5), (0.2, 40), (1e-2, 1e14)])
@pytest.mark.parametrize("which", ["x", "y"])
def test_a_log_axis_has_ticks_however_little_it_shows_and_not_too_many(which, ends):
    axes = new_figure(4, 2.5).subplots()
    axes.plot(*({"x": (ends, (0, 1)), "y": ((0, 1), ends)}[which]))
    use_log_scale(axes, which)
    axis, shown = (axes.xaxis, axes.get_xlim()) if which == "x" else (axes.yaxis, axes.get_ylim())
    inside = [tick for tick in axis.get_majorticklocs() if shown[0] <= tick <= shown[1]]
    assert 2 <= len(inside) <= 12


def test_survival_is_drawn_where_a_run_failed_alone(drawn):
    panels = {
        where: [a.get_title().partition("\n")[0] for a in figure.axes]
        for where, figure in drawn.items()
    }
    assert panels["stage_a", "learning_curves"][-1] == "Runs not failed"
    assert "Runs not failed" not in panels["clip_sweep", "learning_curves"]
