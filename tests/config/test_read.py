"""A user's mistake in a study gets one error: file, block, key, what came, what was expected."""

from functools import reduce
from operator import getitem

import pytest

from ptycho_torch.config.read import load_yaml, parse_study, read_sources, read_study
from ptycho_torch.runtime.errors import InputError


def edit(data, path, value):
    *blocks, key = path.split(".")
    block = reduce(getitem, blocks, data)
    block[key] = value
    if value is ...:
        del block[key]
    return data


TINY = [
    ("arms.agc.execution.clip.max_ration", 1,
     "x.yaml: arms.agc.execution.clip: AdaptiveClip has no key 'max_ration'; did you mean 'max_ratio'?"),
    ("traning", {}, "Study has no key 'traning'; did you mean 'training'?"),
    ("datasets.tiny.photons", -1, "datasets.tiny.photons: Input should be greater than or equal to 1, got -1"),
    ("datasets.tiny.probe.shape", "trangle", "datasets.tiny.probe: shape 'trangle' is not known; did you mean 'triangle'?"),
    ("datasets.tiny.scan.test_step_px", 50, "scan.test_step_px of 50 px takes one patch a row or none"),
    ("datasets.tiny.scan.test_step_px", 20, "leaves gaps between patches of 16 px"),
    ("datasets.tiny.object.size_px", 12, "beside a patch or group of patches"),
    ("datasets.tiny.seeds", {"train": 1, "test": 1}, "three different objects"),
    ("datasets.tiny.object.set_phi", ..., "datasets.tiny.object.set_phi: this key is missing"),
    ("training.epochs", "ten", "training.epochs: Input should be a valid integer, got 'ten'"),
    ("training.optimizer", {"learning_rate": 1}, "training.optimizer: the key 'name', which says the block's kind, is missing"),
    ("generator.name", "hybird", "generator.name: there is no generator 'hybird'; did you mean 'hybrid'?; a network of your own"),
    ("generator.modes", 10, "arms.control.generator: modes of 10 are more than frames of 16 px have: at most 9"),
    ("stage_a.arms", ["control", "adc"], "stage_a.arms: there is no arm 'adc'; did you mean 'agc'?"),
    ("stage_a.arms", ["agc"], "stage_a.control: there is no arm of Stage A 'control'"),
    ("arms.a/b", {"hypothesis": "climbs"}, "a/b"),
    ("title", "two\n# headings", "title: must be one line of printable text"),
    ("stage_a.seeds", 50_000, "must be from 1 to 1000, got 50000"),
    ("datasets.tiny.scan", {"gridsize": 2, "group_offset_px": 16, "train_step_px": 4, "test_step_px": 4}, "leaves no overlap between patches"),
    ("training.batch_size", 122, "arms.control: training.batch_size of 122 is more than the 121 groups"),
    ("evaluation", {"trim_px": 19}, "evaluation.trim_px of 19 leaves 6 px of the image"),
    ("training.schedule", {"name": "warmup_cosine", "warmup_epochs": 8}, "warmup_epochs of 8 never ends in 8"),
    ("arms.agc.execution.clip.max_ratio", 1e300, "less than or equal to 3000"),
]  # fmt: skip


SHIPPED = [
    ("sweeps.clip_sweep.sweep", {"clip.max_norn": [1]}, "sweeps.clip_sweep.sweep: there is no setting 'clip.max_norn'; did you mean"),
    ("sweeps.clip_sweep.sweep", {"generator.wdth": [1]}, "did you mean 'generator.width'?"),
    ("sweeps.clip_sweep.sweep", {"name": ["fno"]}, "'name' is not clear; it may be generator.name or"),
    ("sweeps.clip_sweep.sweep", {"clip.max_norm": [5, 5.0]}, "sweeps.clip_sweep.sweep.clip.max_norm: names 5 more than once"),
    ("sweeps.clip_sweep.sweep", {"clip.max_norm": [-5]}, "arms.norm1 with max_norm -5: execution.clip.max_norm"),
    ("sweeps.clip_sweep.sweep", {"generator.name": ["fno"], "channel_cap": [8]}, "'fno' has one resolution"),
    ("sweeps.clip_sweep.sweep", {"generator.name": ["json:Encoder"]}, "norm1 with generator json:Encoder: arm: String should"),
    ("sweeps.clip_sweep.arm", "nrm1", "sweeps.clip_sweep.arm: there is no arm 'nrm1'; did you mean 'norm1'?"),
    ("stress.arms", ["control", "stabl"], "stress.arms: there is no arm 'stabl'; did you mean 'stable'?"),
    ("stress.arms", ["stable"], "stage_a.control: there is no arm of the stress stage 'control'"),
    ("stress.learning_rates", [0.1, 0.2], "stress.learning_rates: List should have at least 3"),
    ("stage_a.seeds", {"looks": [6, 6]}, "stage_a.seeds.looks: must rise, each number once, got [6, 6]"),
    ("stage_a.seeds", {"looks": [6, 9], "taken": 0}, "stage_a.seeds.taken: Input should be greater"),
    ("sweeps.study", {"arm": "control", "sweep": {"width": [4]}}, "'study' is taken"),
    ("stage_b", None, "pivot: needs the block stage_b"),
    ("pivot", None, "decision: needs the blocks stage_b and pivot"),
    ("pivot.arm", "stable", "pivot: control, cures and arm must be different"),
    ("pivot.cures", ["layerscale"], "pivot.cures: there is no arm of Stage A 'layerscale'"),
    ("pivot.cures", ["agc", "control"], "pivot: control, cures and arm must be different"),
    ("arms.agc.execution", {"clip": {"max_norm": 1.0}}, "arms.agc.execution.clip: NoClip has no key 'max_norm'"),
    ("arms.agc.execution", {}, "stage_a.arms: 'control' and 'agc' have the very same settings"),
    ("decision.gold", "norm1", "decision.gold: there is no cure 'norm1'"),
    ("stage_b.fno_blocks", 4, "'control' and 'control' in Stage B have the very same settings"),
    ("diagnostics", {"depths": [100], "stages": ["x"]}, "diagnostics.stages: there is no stage 'x'"),
    ("real_data.arms", ["acg"], "real_data.arms: there is no arm 'acg'; did you mean 'agc'?"),
    ("real_data.held_out", {"rows": [0.5, 0.2]}, "real_data.held_out.rows: must rise"),
    ("real_data.training", {"epochs": 0}, "real_data: network '"),
    ("real_data.generator", {"modes": 99}, "real_data: network '"),
]  # fmt: skip
CASES = [("tests/tiny.yaml", *case) for case in TINY]
CASES += [("config/config.yaml", *case) for case in SHIPPED]


@pytest.mark.parametrize(("study", "path", "value", "message"), CASES)
def test_each_mistake_names_its_block_and_key(root, study, path, value, message):
    data = edit(load_yaml(root / study), path, value)
    with pytest.raises(InputError) as caught:
        parse_study(data, "x.yaml")
    assert str(caught.value).startswith("x.yaml: ") and message in str(caught.value)


def test_several_mistakes_are_told_at_once(tiny):
    data = edit(edit(tiny, "training.epochs", 0), "datasets.tiny.photons", -1)
    with pytest.raises(InputError) as caught:
        parse_study(data, "x.yaml")
    assert "training.epochs" in str(caught.value) and "photons" in str(caught.value)


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"- a\n- b\n", "expected blocks of keys .*, got list"),
        (b"# nothing\n", "expected blocks of keys .*, got nothing"),
        (b"a: [1", "is not YAML"),
        ("a: 1".encode("utf-16"), "is not a UTF-8 text file .*save it as UTF-8"),
        ("a: \u00e9tude".encode("latin-1"), "is not a UTF-8 text file .*save it as UTF-8"),
        (b"arms:\n  agc: {a: 1}\n  agc: {a: 2}\n", "line 3: 'agc' stands twice"),
        (b"a: !!python/object/apply:os.system ['true']\n", "is not YAML"),
        (b"yes: 1", "a key must be"),
        (b"a: [1,\n 010]", "line 2: 010 is of base 8 or 60"),
        (b"a: 1:30", "line 1: 1:30 is of base 8 or 60"),
        (b"title: 2024-13-45", "is not YAML"),
    ],
)
def test_files_that_are_no_study_are_refused_in_one_line(tmp_path, monkeypatch, content, message):
    """As a study, and as a file that Snakemake has read."""
    path = tmp_path / "x.yaml"
    path.write_bytes(content)
    with pytest.raises(InputError, match=f"^{path}: .*({message})"):
        read_study(path)
    monkeypatch.chdir(tmp_path)
    with pytest.raises(InputError, match=rf"^x\.yaml: .*({message})"):
        read_sources([path])


def test_a_byte_order_mark_and_plain_numbers_are_read(tmp_path):
    path = tmp_path / "x.yaml"
    path.write_bytes(b"\xef\xbb\xbfa: [0, 10, 0.5, 1_000, 1.0e-3]")
    assert load_yaml(path) == {"a": [0, 10, 0.5, 1000, 1e-3]}


@pytest.mark.parametrize("name", ["..", "../up", "/etc/x", "a/b", "a\x00b", "", "a b", "{seed}"])
@pytest.mark.parametrize("block", ["datasets", "arms", "sweeps"])
def test_a_name_that_becomes_a_folder_is_letters_digits_and_little_else(tiny, block, name):
    """A name in a study leads out of no folder."""
    tiny[block][name] = next(iter(tiny[block].values()))
    with pytest.raises(InputError) as caught:
        parse_study(tiny, "study.yaml")
    assert all(map(str.isprintable, str(caught.value).split("\n  ")))
