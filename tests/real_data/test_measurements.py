"""Frames are held out by where they were taken; the real file, where PTYCHO_DATA has it; the summary
of measurements, planned and run as users do."""

import json
import re
import shutil

import numpy as np
import pytest
from scipy.spatial import cKDTree
from tests.commands import snakemake
from tests.report.planted_runs import PROVENANCE

from ptycho_torch.config.read import parse_study, read_study
from ptycho_torch.config.scan import RegionSettings
from ptycho_torch.config.study import fit_settings
from ptycho_torch.data.hold_out import half_light_radius_px, hold_out_region, interleaved_halves
from ptycho_torch.data.read import read_scan
from ptycho_torch.data.write import PARTS, write_parts
from ptycho_torch.files import io
from ptycho_torch.physics.predict import predict_amplitudes, r_factor
from ptycho_torch.reconstruct.rpie import reconstruct
from ptycho_torch.report.summarise.real_data import summarise_real_data
from ptycho_torch.runtime.errors import InputError


@pytest.fixture(params=["raster", "scattered", "shuffled"])
def positions(request):
    stream = np.random.default_rng(1)
    if request.param == "scattered":
        return stream.uniform(0, 60, (300, 2))
    raster = np.stack(np.meshgrid(*[np.arange(20) * 3.0] * 2, indexing="ij"), -1).reshape(-1, 2)
    return stream.permutation(raster) if request.param == "shuffled" else raster


def test_no_training_frame_is_within_the_gap_of_one_held_out(positions):
    region = RegionSettings(rows=[0.3, 0.5], columns=[0.2, 0.6])
    kept = hold_out_region(positions, region, gap_px=5.0, source="s")
    every = np.concatenate([kept.train, kept.validation, kept.gap])
    np.testing.assert_array_equal(np.sort(every), np.arange(len(positions)))
    nearest, _ = cKDTree(positions[kept.validation]).query(positions)
    assert nearest[kept.train].min() >= 5 and nearest[kept.gap].max() < 5
    share = (positions[kept.validation] - positions.min(0)) / np.ptp(positions, axis=0)
    assert (share >= (0.3, 0.2)).all() and (share <= (0.5, 0.6)).all()


def test_halves_are_disjoint_and_each_covers_what_the_other_does(positions):
    halves = interleaved_halves(positions)
    np.testing.assert_array_equal(np.sort(np.concatenate(halves)), np.arange(len(positions)))
    assert abs(len(halves[0]) - len(halves[1])) <= 1
    spacing = np.sqrt(np.ptp(positions, axis=0).prod() / len(positions))
    for one, other in (halves, halves[::-1]):
        apart, _ = cKDTree(positions[other]).query(positions[one])
        # Of a random half, one frame in sixteen has four neighbours of its own half.
        assert np.percentile(apart, 97) <= 1.3 * spacing


def test_a_region_without_frames_and_a_gap_without_mercy_are_refused(positions):
    corners = np.array([[0.0, 0.0], [60.0, 60.0]])
    with pytest.raises(InputError, match="no frame lies"):
        hold_out_region(corners, RegionSettings(), gap_px=1, source="s")
    with pytest.raises(InputError, match="leaves none"):
        hold_out_region(positions, RegionSettings(), gap_px=1e3, source="s")


def test_half_of_a_disks_light_is_within_root_half_of_its_radius():
    rows, columns = np.indices((64, 64))
    disk = (np.hypot(rows - 30, columns - 35) <= 20).astype(complex)
    assert half_light_radius_px(disk[None]) == pytest.approx(20 / 2**0.5, abs=0.5)


def test_parts_are_read_back_as_they_were_split(results, truth):
    split = json.loads((results.folder / "small/split.json").read_text())
    for part in PARTS:
        scan = read_scan(results.folder / f"small/frames/{part}.npz")
        index = split["parts"][part]
        np.testing.assert_allclose(scan.positions_n2, truth.scan.positions_n2[index], atol=1e-5)
        np.testing.assert_allclose(scan.amplitude_nHW**2, truth.counts[index], rtol=1e-5)
        assert scan.intensity_scale == 1
    # Of the file's guess, for nothing else is said.
    radius = half_light_radius_px(truth.scan.probe_MHW)
    assert split["gap_px"] == pytest.approx(radius, rel=1e-5)
    held, train = (truth.scan.positions_n2[split["parts"][part]] for part in ("held_out", "train"))
    assert np.hypot(*(held[:, None] - train).transpose(2, 0, 1)).min() >= radius
    halves = {*split["parts"]["half_a"], *split["parts"]["half_b"]}
    assert halves == set(split["parts"]["train"])


def test_a_few_passes_predict_frames_that_were_held_out(real_file, root, tmp_path):
    """R falls far under that of a constant object (0.23): scale, shift and axes are right."""
    star = read_study(root / "config/config.yaml").real_data
    outputs = {part: tmp_path / f"{part}.npz" for part in PARTS}
    measurement, region = star.measurements["siemens_star"], star.held_out.model_dump()
    write_parts(
        real_file, measurement.reading, RegionSettings.model_validate(region),
        {**outputs, "split": tmp_path / "split.json"},
        file=measurement.file, sha256=measurement.sha256,
    )  # fmt: skip
    split = json.loads((tmp_path / "split.json").read_text())
    assert split["frames"] == 516 and len(split["parts"]["held_out"]) == 17
    train, held = read_scan(outputs["train"]), read_scan(outputs["held_out"])
    few = star.rpie.model_copy(update={"iterations": 6})
    made = reconstruct(train, few)
    extent = np.ptp(read_scan(real_file, measurement.reading).positions_n2, axis=0)
    assert extent == pytest.approx([165.96, 164.45], abs=0.01)
    inside = np.flatnonzero(held.positions_n2[:, 1] > train.positions_n2[:, 1].min())
    places = held.positions_n2[inside]
    guess = predict_amplitudes(made.object_YX, made.probe_MHW, places, origin=made.origin)
    assert r_factor(guess, held.amplitude_nHW[inside]) < 0.15
    swapped = predict_amplitudes(made.object_YX.T, made.probe_MHW, places, origin=made.origin[::-1])
    assert r_factor(swapped, held.amplitude_nHW[inside]) > 0.18


def test_the_whole_chain_runs_through_snakemake(results, packed):
    text = (results.folder / "summary.md").read_text()
    for figure in re.findall(r"\]\((\S+\.(?:png|svg))\)", text):
        assert (results.folder / figure).stat().st_size > 5000, figure
    for words_said in (packed.sha256, "A scan with photon noise", "0 of 1 network run failed"):
        assert words_said in text
    assert "Nothing to be done" in results.again("-n")


def test_the_target_is_planned_and_needs_nothing_of_the_study(tmp_path):
    said = snakemake(tmp_path, "real_data_summary", "-n", "--configfile", "config/full.yaml")
    counts = {rule: int(n) for rule, n in re.findall(r"^(\w+) +(\d+)$", said, re.M)}
    assert counts["real_data_train"] == counts["real_data_infer"] == 40
    assert counts["real_data_evaluate"] == 41
    assert not {"train", "simulate", "evaluate"} & set(counts)


def test_a_failed_run_is_a_row_with_its_reason(results, tmp_path):
    folder = shutil.copytree(results.folder, tmp_path / "real")
    place = folder / "small/control/seed-3"
    failure = {"epoch": 1, "step": 5, "reason": "the training loss is nan"}
    for file in ("metrics.json", "report.json"):
        facts = io.read_json(place / file)
        facts |= {"outcome": "non_finite", "failure": failure}
        kept = ("engine", "outcome", "failure") if file == "metrics.json" else facts
        io.write_json(place / file, {key: facts[key] for key in kept})
    settings = results.study.real_data.model_dump(mode="json")
    more = {"arms": list(results.study.arms), "provenance": PROVENANCE, "folder": folder}
    summarise_real_data("A title", settings, fits={}, **more)
    text = (folder / "summary.md").read_text()
    assert "control, seed 3: `non_finite`, the training loss is nan." in text
    assert "1 of 1 network run failed" in text and "none: all failed" in text
    table = io.read_csv(folder / "scores.csv").set_index("arm")
    assert table.loc["control", "reason"] == failure["reason"]
    assert table.loc["control"].isna()["r_train"] and not table.loc["rpie"].isna()["r_train"]


@pytest.mark.parametrize(
    ("block", "change", "named"),
    [
        ("rpie", {"iterations": 21}, "rpie/report.json: .*iterations is 20, the study says 21"),
        ("training", {"epochs": 9}, "seed-3/run.json: .*training.epochs is 2, the study says 9"),
    ],
)
def test_results_of_other_settings_are_not_summarised(results, tmp_path, block, change, named):
    settings = results.study.model_dump(mode="json", exclude={"title"}) | {"title": "A title"}
    settings["real_data"][block] = {**(settings["real_data"][block] or {}), **change}
    study = parse_study(settings, "changed")
    fits = {"small/control/3": fit_settings(study, "small", "control", 3).model_dump(mode="json")}
    folder = shutil.copytree(results.folder, tmp_path / "real")
    (folder / "summary.md").unlink(missing_ok=True)
    real = study.real_data.model_dump(mode="json")
    more = {"arms": [], "fits": fits, "provenance": PROVENANCE, "folder": folder}
    with pytest.raises(InputError, match=named):
        summarise_real_data("A title", real, **more)
    assert not (folder / "summary.md").exists()


def test_blocks_of_an_arm_and_of_real_data_enter_a_training(real_study):
    real = {**real_study["real_data"], "arms": ["agc"], "gridsizes": [1, 2]}
    study = parse_study({**real_study, "real_data": real}, "test")
    assert list(study.real_data.networks) == ["agc", "agc-grid2"]
    fit = fit_settings(study, "small", "agc-grid2", 7)
    assert (fit.groups.gridsize, fit.seed, fit.training.epochs) == (2, 7, 2)
    assert fit.execution.clip.gradient_clip_algorithm == "agc"
    assert fit.training.optimizer == study.training.optimizer
