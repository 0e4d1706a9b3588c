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

DEEP = "-fno_blocks-8"
HIGHEST = f"agc{DEEP}-learning_rate-0.05-epochs-3-schedule-constant"
FAILING = dict.fromkeys((("control", 0), ("control" + DEEP, 0), ("agc" + DEEP, 1)), "exploded")


@pytest.fixture(scope="module")
def drawn(values_of):
    """Every kind of figure of a stage, by stage and name."""
    plans = {
        "stage_a": {"conventional": True, "outcomes": FAILING},
        "pivot": {"conventional": True, "outcomes": FAILING},
        "stage_b": {"winner": "stable"},
        "clip_sweep": {},
        "stress": {"seeds": [0, 1, 2, 3, 4], "outcomes": {(HIGHEST, 0): "exploded"}},
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


def lines_of(name, figure):
    """The lines of each arm in a figure of this kind, by the arm's name."""
    axes = figure.axes[0]
    if name == "learning_curves":
        return {panel.get_title().partition("\n")[0]: panel.lines for panel in figure.axes}
    if name == "loss_by_rate":
        handles, labels = axes.get_legend_handles_labels()
        return {label: handle[:1] for handle, label in zip(handles, labels, strict=True)}
    places = [np.mean(line.get_ydata()) if len(line.get_ydata()) else -1 for line in axes.lines]
    return {
        row.get_text().partition(",")[0]: [
            line for line, at in zip(axes.lines, places, strict=True) if abs(at - place) < 0.3
        ]
        for place, row in enumerate(axes.get_yticklabels())
    }


def test_an_arm_has_the_colour_of_its_place_in_the_study_in_every_figure(drawn):
    study = parse_study(load_yaml(CONFIG), "config")
    of_arm = dict(zip(study.arms, map(str.lower, plot_style.COLOURS), strict=False))
    others = {colour.lower() for colour in (plot_style.INK, plot_style.REFERENCE, RPIE)}
    seen = set()
    for (stage, name), figure in drawn.items():
        for arm, lines in lines_of(name, figure).items() if name != "reconstructions" else ():
            if colour := of_arm.get(arm.partition("-")[0]):
                found = {to_hex(line.get_color()) for line in lines} - others
                assert found == {colour}, (stage, name, arm)
                seen.add((name, arm))
    curves = {arm for name, arm in seen if name == "learning_curves"}
    assert {"control", "control" + DEEP, "norm1-max_norm-3", "layerscale" + DEEP} <= curves
    for name in ("loss_by_rate", "areas", "metric_spread", "overview"):
        assert len([arm for of, arm in seen if of == name]) >= 3, name


def test_looks_tell_apart_all_arms_and_several_of_one_arm():
    study = parse_study(load_yaml(CONFIG.with_name("medium.yaml")), "medium")
    looks = arm_looks(study.arms, study.arms)
    told_by = ("color", "linestyle", "fillstyle")
    assert len({tuple(look[key] for key in told_by) for look in looks.values()}) == 9
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


def ticks(axis):
    """How many ticks of an axis are in sight."""
    ends = axis.get_view_interval()
    return sum(min(ends) <= tick <= max(ends) for tick in axis.get_majorticklocs())


def test_every_axis_has_ticks(drawn):
    for where, figure in drawn.items():
        for axes in figure.axes:
            if axes.axison and axes.get_label() != "<colorbar>":
                assert min(ticks(axes.xaxis), ticks(axes.yaxis)) >= 2, (where, axes.get_title())


@pytest.mark.parametrize("ends", [(0.55, 0.68), (1.6, 2.9), (0.07, 0.5), (0.2, 40), (1e-2, 1e14)])
@pytest.mark.parametrize("which", ["x", "y"])
def test_a_log_axis_has_ticks_however_little_it_shows_and_not_too_many(which, ends):
    axes = new_figure(4, 2.5).subplots()
    axes.plot(*({"x": (ends, (0, 1)), "y": ((0, 1), ends)}[which]))
    use_log_scale(axes, which)
    assert 2 <= ticks(getattr(axes, f"{which}axis")) <= 12


def test_survival_is_drawn_where_a_run_failed_alone(drawn):
    for stage, there in (("stage_a", True), ("clip_sweep", False)):
        panels = lines_of("learning_curves", drawn[stage, "learning_curves"])
        assert ("Runs not failed" in panels) is there
