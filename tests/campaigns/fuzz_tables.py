"""Targets of `fuzz_readers` that are text: studies, overrides, JSON results and tables."""

import importlib.util
import json
import random
import sys
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from types import ModuleType
from typing import Any

import fuzz_mutate as damage

from ptycho_torch.config.plan import StagePlan, stage_names, stage_plan
from ptycho_torch.config.read import load_yaml, parse_study, read_study, typed_overrides
from ptycho_torch.config.study import Study
from ptycho_torch.files import checksums as io_checks
from ptycho_torch.files import io

ROOT = Path(__file__).resolve().parents[2]
Damage = Callable[[bytes, random.Random, bytes], bytes]


@dataclass(frozen=True)
class Target:
    """A reader, its good files and their damages; `after` mends checksums, as an attacker would."""

    name: str
    write: Callable[[Path], None]
    read: Callable[[Path], None]
    damages: Sequence[Damage] = ()
    after: Callable[[Path], None] = lambda folder: None
    share: float = 1.0
    """How many of the cases it gets, beside the others."""

    def damage(self, path: Path, data: bytes, rng: random.Random, other: bytes) -> bytes:
        """Return the bytes of one file, damaged as befits its kind."""
        by_kind: dict[str, Sequence[Damage]] = {
            ".json": (damage.mutate_json,),
            ".npz": (damage.mutate, damage.mutate_npz, damage.mutate_npz),
            ".csv": (damage.mutate_text,),
            ".yaml": (damage.mutate_text,),
            ".safetensors": (damage.mutate_tensors,),
        }
        return rng.choice(self.damages or by_kind.get(path.suffix, (damage.mutate,)))(
            data, rng, other
        )


def module(path: str) -> ModuleType:
    """Return a module of the tests by its path; several are called conftest."""
    name = path.replace("/", "_").removesuffix(".py")
    if name not in sys.modules:
        spec = importlib.util.spec_from_file_location(name, ROOT / "tests" / path)
        assert spec and spec.loader
        sys.modules[name] = importlib.util.module_from_spec(spec)
        spec.loader.exec_module(sys.modules[name])
    return sys.modules[name]


def write_yaml(folder: Path) -> None:
    (folder / "study.yaml").write_bytes((ROOT / "tests" / "tiny.yaml").read_bytes())


def read_yaml(folder: Path) -> None:
    study = read_study(folder / "study.yaml")
    assert isinstance(study, Study)
    for name in stage_names(study):
        assert all("/" not in arm for arm in stage_plan(study, name, winner="control").arms)


def write_overrides(folder: Path) -> None:
    given = {
        "training": {"epochs": "3", "optimizer": "{name: adam, learning_rate: 1e-3}"},
        "arms": "{control: {hypothesis: x}}",
        "stage_a": {"arms": ["control", "agc"], "seeds": "1"},
    }
    (folder / "config.json").write_text(json.dumps(given))


def read_overrides(folder: Path) -> None:
    try:
        given = json.loads((folder / "config.json").read_bytes())
    except (ValueError, RecursionError):
        return  # Never came from a command line.
    if isinstance(given, dict):
        data = load_yaml(ROOT / "tests" / "tiny.yaml")
        _lay_over(data, typed_overrides(_as_texts(given)))
        assert isinstance(parse_study(data, "--config"), Study)


def _as_texts(value: Any) -> Any:
    """Return nested values as the command line gives them: texts at the ends."""
    if isinstance(value, dict):
        return {key: _as_texts(inner) for key, inner in value.items()}
    return [_as_texts(inner) for inner in value] if isinstance(value, list) else str(value)


def _lay_over(data: dict[str, Any], over: dict[str, Any]) -> None:
    for key, value in over.items():
        if isinstance(value, dict) and isinstance(data.get(key), dict):
            _lay_over(data[key], value)
        else:
            data[key] = value


def sign_results(folder: Path) -> None:
    """Sign every JSON file and the files beside it as a hostile writer would.

    Without it all that is changed is refused for its checksum, and nothing behind is looked at.
    """
    for path in folder.rglob("*.json"):
        try:
            facts = json.loads(path.read_bytes())
        except (ValueError, RecursionError):
            continue  # Too broken to be signed; it is read as it is.
        if not isinstance(facts, dict):
            continue
        recorded = facts.get(io_checks.FILES)
        if isinstance(recorded, dict):
            beside = {name: path.parent / name for name in recorded if name and "/" not in name}
            recorded |= {n: io.sha256(file) for n, file in beside.items() if file.is_file()}
        facts.pop(io_checks.KEY, None)
        with suppress(ValueError, RecursionError):
            path.write_text(json.dumps(io_checks.signed(facts)))


def write_json(folder: Path) -> None:
    Run, Plan = (getattr(module("summarise/planted_runs.py"), n) for n in ("Run", "Plan"))
    (folder / "run.json").write_text(json.dumps(Run(Plan(seeds=[0]), "control", 0).record()))


def read_json(folder: Path) -> None:
    assert isinstance(io.read_json(folder / "run.json", sign=False), dict)


def write_csv(folder: Path) -> None:
    Run, Plan = (getattr(module("summarise/planted_runs.py"), n) for n in ("Run", "Plan"))
    (folder / "history.csv").write_text(Run(Plan(seeds=[0]), "control", 0).history())


def read_csv(folder: Path) -> None:
    table = io.read_csv(folder / "history.csv")
    assert list(table.index) == list(range(len(table))) and len(table.columns)
    assert all(isinstance(name, str) for name in table.columns)


def write_page(folder: Path) -> None:
    module("publish/conftest.py").Planted(folder).write()


def read_page(folder: Path) -> None:
    from ptycho_torch.report.publish import page
    from ptycho_torch.report.publish.inputs import read_inputs

    page.get_plotlyjs = lambda: ""  # 5 MB that are always the same.
    text = page.render(
        read_inputs(
            runs=folder / "runs.csv",
            history=folder / "history.csv",
            decision=folder / "decision.json",
            study=folder / "study.json",
            reconstructions=sorted((folder / "evaluate").rglob("*.npz")),
        )
    )
    assert "<script>x</script>" not in text


@cache
def planned() -> StagePlan:
    """Return Stage A of the planted study."""
    planted = module("summarise/planted_runs.py")
    return stage_plan(parse_study(planted.config_of(planted.Plan(seeds=[0])), "planted"), "stage_a")


def write_stage(folder: Path) -> None:
    module("summarise/conftest.py").write_study(
        folder, module("summarise/planted_runs.py").Plan(seeds=[0], conventional={})
    )


def read_stage(folder: Path) -> None:
    from ptycho_torch.report.summarise.collect import StageFiles, collect

    names = {
        "metrics": "metrics.json", "runs": "run.json", "timings": "timing.json",
        "histories": "history.csv", "reconstructions": "reconstruction.npz",
    }  # fmt: skip
    files = {
        kind: sorted(p for p in folder.rglob(name) if "seed-0" in p.parts)
        for kind, name in names.items()
    }
    rpie = [folder / "rpie" / name for name in ("metrics.json", "progress.json")]
    found = collect(
        StageFiles(**files, dataset=folder / "dataset.json", conventional=rpie),
        planned(),
    )
    assert len(found.runs) == len(files["runs"]) and set(found.baselines) >= {"constant", "truth"}
    io.write_csv(folder.parent / "written" / "runs.csv", found.runs)


def read_runs(folder: Path) -> None:
    from ptycho_torch.report.runs_table import read_runs as read

    table = read(folder / "runs.csv", planned())
    assert table["failed"].dtype == bool and (table["dataset"] == "triangle_n32").all()
    assert table["best_val_loss"].dtype.kind in "fi"


def write_runs(folder: Path) -> None:
    from tempfile import TemporaryDirectory

    with TemporaryDirectory() as place:
        (Path(place) / "stage").mkdir()
        write_stage(Path(place) / "stage")
        read_stage(Path(place) / "stage")
        (folder / "runs.csv").write_bytes((Path(place) / "written" / "runs.csv").read_bytes())


TABLES = (
    Target("yaml", write_yaml, read_yaml, share=0.5),
    Target("overrides", write_overrides, read_overrides, share=0.4),
    Target("json", write_json, read_json, share=2.5),
    Target("csv", write_csv, read_csv, share=1.5),
    Target("runs", write_runs, read_runs, share=0.15),
    Target("stage", write_stage, read_stage, after=sign_results, share=0.1),
    Target("page", write_page, read_page, after=sign_results, share=0.05),
)
