"""Whatever is summarised was made with the settings of its study; else nothing is written."""

from pathlib import Path

import pytest

from ptycho_torch.files import io
from ptycho_torch.files.belonging import differences
from ptycho_torch.report.summarise.stage import summarise_stage
from ptycho_torch.runtime.errors import InputError


def edited(path, *keys, value):
    facts = block = io.read_json(path)
    for key in keys[:-1]:
        block = block[key]
    block[keys[-1]] = value
    io.write_json(path, facts)


@pytest.mark.parametrize(
    ("kind", "keys", "value", "named"),
    [
        ("runs", ("settings", "training", "optimizer", "learning_rate"), 0.5,
         "run.json: .*training.optimizer.learning_rate is 0.5, the study says .*forcerun train"),
        ("runs", ("settings", "generator", "width"), 99, "generator.width is 99"),
        ("runs", ("settings", "seed"), 7, "seed is 7, the study says 0"),
        ("metrics", ("settings", "trim_px"), 9, "metrics.json: .*trim_px is 9.*forcerun evaluate"),
        ("dataset", ("settings", "photons"), 5.0, "dataset.json: .*photons is 5.*forcerun simulate"),
        ("conventional", ("settings", "alpha"), 0.7, "progress.json: .*alpha is 0.7.*reconstruct"),
    ],
)  # fmt: skip
def test_results_of_other_settings_are_named_and_not_summarised(
    plant, tmp_path, kind, keys, value, named
):
    given = plant(seeds=(0, 1), conventional=True)
    _, progress, _ = given["conventional"]
    others = {"dataset": given["dataset"], "conventional": progress}
    path = others[kind] if kind in others else given["files"][kind][0]
    edited(path, *keys, value=value)
    with pytest.raises(InputError, match=named) as error:
        summarise_stage(folder=tmp_path, **given)
    assert str(error.value).startswith(str(path)) and "--directory OTHER" in str(error.value)
    assert not [*Path(tmp_path).iterdir()]


def test_what_changes_no_result_is_not_compared():
    was = {"execution": {"threads": 1, "accelerator": "cpu", "loggers": ["csv"], "devices": 1}}
    now = {"execution": {"threads": 8, "accelerator": "gpu", "loggers": [], "devices": 2}}
    assert [*differences(was, now)] == ["execution.devices is 1, the study says 2"]
    assert [*differences({"a": None}, {})] == []
    assert [*differences({}, {"a": [1]})] == ["a is nothing, the study says [1]"]
