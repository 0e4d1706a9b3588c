"""Fixtures shared by all tests: a tiny study, its dataset, rule scripts run in process, a browser."""

import importlib
import json
import os
import runpy
from functools import partial
from pathlib import Path
from types import SimpleNamespace

import pandas as pd
import pytest
import yaml

from ptycho_torch.config.read import load_yaml, parse_study
from ptycho_torch.config.study import run_settings
from ptycho_torch.runtime.locks import has_gpu

ROOT = Path(__file__).resolve().parents[1]
# Arrays of tests are small: one thread is fastest, and test processes side by side do not wait for
# each other's threads. Jobs ask for their own number. Before torch is imported, which reads it once.
os.environ.setdefault("OMP_NUM_THREADS", "1")

FILES = {
    **{"run": "run.json", "timing": "timing.json", "history": "history.csv"},
    **{"bundle": "bundle/bundle.json", "weights": "bundle/weights.safetensors"},
    **{"last": "last.safetensors", "patches": "test_patches.npz"},
}
"""What a training leaves."""
ORDER = {
    # A minute or two each: begun first, none is left alone at the end.
    **{"test_study.py": -3, "test_slurm.py": -2, "test_tutorial.py": -1, "test_dry_runs.py": -1},
    # This waits for the tiny study, which test_study.py has begun.
    "test_contract.py": 1,
}


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    # The tests of a GPU, where there is none and nobody asked for them.
    if not has_gpu() and "gpu" not in config.option.markexpr:
        left_out = [item for item in items if item.get_closest_marker("gpu")]
        config.hook.pytest_deselected(items=left_out)
        items[:] = [item for item in items if item not in left_out]
    items.sort(key=lambda item: ORDER.get(item.path.name, 0))


@pytest.fixture(scope="session")
def unavailable():
    """End a test for want of a tool: skipped with the reason on a machine of one's own, failed in
    CI, unless .ci/run has said that the tool cannot be had there (CI_WITHOUT)."""

    def end(tool: str, reason: str) -> None:
        required = os.environ.get("CI") and tool not in os.environ.get("CI_WITHOUT", "").split()
        (pytest.fail if required else pytest.skip)(f"no {tool}: {reason}")

    return end


@pytest.fixture
def root() -> Path:
    return ROOT


def smallest_study() -> dict:
    """Settings of the smallest study, trained for two epochs, as plain data."""
    study = load_yaml(ROOT / "tests" / "tiny.yaml")
    study["training"] |= {"epochs": 2, "optimizer": {"name": "adam", "learning_rate": 2e-3}}
    return study


@pytest.fixture
def tiny() -> dict:
    """The smallest study, to be changed by a test."""
    return smallest_study()


@pytest.fixture
def tiny_study(tiny):
    return parse_study(tiny, "tiny.yaml")


@pytest.fixture(scope="session")
def run_of():
    """Settings of an arm's run of the smallest study with changed blocks."""

    def make(arm="control", seed=0, **blocks):
        data = smallest_study()
        data |= {block: {**data[block], **changes} for block, changes in blocks.items()}
        return run_settings(parse_study(data, "tiny.yaml"), "tiny", arm, seed)

    return make


@pytest.fixture(scope="session")
def tiny_dataset(tmp_path_factory) -> SimpleNamespace:
    """The tiny study's dataset, simulated once: paths of its three splits and dataset.json."""
    from ptycho_torch.simulate.dataset import SPLITS, simulate_dataset

    study = parse_study(load_yaml(ROOT / "tests" / "tiny.yaml"), "tiny.yaml")
    folder = tmp_path_factory.mktemp("tiny")
    splits, record = {split: folder / f"{split}.npz" for split in SPLITS}, folder / "dataset.json"
    simulate_dataset(study.datasets["tiny"], name="tiny", splits=splits, summary=record)
    return SimpleNamespace(splits=splits, dataset=record, folder=folder)


@pytest.fixture
def tiny_data(tiny_dataset):
    """The tiny study's data, as a training sees them."""
    from ptycho_torch.data.training import data_of_splits

    return data_of_splits(tiny_dataset.splits, tiny_dataset.dataset, patch_px=16)


@pytest.fixture(scope="session")
def train_into(run_of, tiny_dataset):
    """Train one arm with changed blocks into a folder; return its files' contents."""
    from ptycho_torch.train.run import forget_checkpoints, train_run

    def train(folder, *, arm="control", seed=0, **blocks):
        data = {"splits": tiny_dataset.splits, "dataset": tiny_dataset.dataset}
        train_run(run_of(arm, seed, **blocks), folder=folder, threads=1, **data)
        forget_checkpoints(folder)
        outputs = {key: folder / name for key, name in FILES.items()}
        return SimpleNamespace(
            folder=folder,
            run=json.loads(outputs["run"].read_text()),
            timing=json.loads(outputs["timing"].read_text()),
            history=pd.read_csv(outputs["history"]),
            outputs=outputs,
            results={k: p.read_bytes() for k, p in outputs.items() if k != "timing"},
        )

    return train


@pytest.fixture(scope="session")
def plain(train_into, tmp_path_factory):
    """The control, trained once as it is: what a changed run is compared with."""
    return train_into(tmp_path_factory.mktemp("plain") / "run")


@pytest.fixture(scope="session")
def load():
    """Run a Python file of this checkout that belongs to no package; return its names."""
    return lambda path: SimpleNamespace(**runpy.run_path(str(ROOT / path)))


@pytest.fixture(scope="session")
def shared(tmp_path_factory):
    """A folder of all test processes."""
    folder = tmp_path_factory.getbasetemp()
    return folder.parent if "PYTEST_XDIST_WORKER" in os.environ else folder


@pytest.fixture(scope="session")
def tiny_run(shared):
    """The finished tiny study, run once for all test processes (tests/commands.py)."""
    from tests.commands import run_tiny_study

    return run_tiny_study(shared)


class Names(list):
    """Like Snakemake's Namedlist: items by position, and by name, where several may have one."""

    def __init__(self, **items):
        super().__init__(f for v in items.values() for f in (v if isinstance(v, list) else [v]))
        self.__dict__.update(items)


@pytest.fixture
def run_script(tmp_path):
    """Run a rule script as Snakemake would, with a stand-in for its job; outputs go to tmp_path."""

    def texts(values, place=lambda value: value):
        return Names(**{
            key: [str(place(v)) for v in value] if isinstance(value, list) else str(place(value))
            for key, value in (values or {}).items()
        })  # fmt: skip

    def run(name, *, input=None, output=None, params=None, wildcards=None):
        job = SimpleNamespace(
            input=texts(input),
            output=texts(output, lambda value: tmp_path / value),
            params=SimpleNamespace(**(params or {})),
            wildcards=SimpleNamespace(**(wildcards or {})),
            log=[str(tmp_path / "log.txt")],
            threads=1,
        )
        script = str(ROOT / "workflow" / "scripts" / name)
        runpy.run_path(script, init_globals={"snakemake": job}, run_name="__main__")
        return job

    return run


class Browser:
    """A page in headless Chromium: what it logs, what it asks for, and what a script finds in it."""

    def __init__(self, driver):
        self.driver, self.js = driver, driver.execute_script

    def open(self, path, *, width=1280, height=900, scheme="light"):
        """Open a file by its file:// address in a window of this size, light or dark."""
        for kind in ("browser", "performance"):
            self.driver.get_log(kind)  # What earlier pages logged.
        size = {"width": width, "height": height, "deviceScaleFactor": 1, "mobile": width < 500}
        self.driver.execute_cdp_cmd("Emulation.setDeviceMetricsOverride", size)
        features = [{"name": "prefers-color-scheme", "value": scheme}]
        self.driver.execute_cdp_cmd("Emulation.setEmulatedMedia", {"features": features})
        self.driver.get(Path(path).resolve().as_uri())
        return self

    def console_errors(self, *, warnings=True):
        """Return errors, and warnings too, of the console since the page was opened."""
        levels = ("SEVERE", "WARNING") if warnings else ("SEVERE",)
        return [e["message"] for e in self.driver.get_log("browser") if e["level"] in levels]

    def requests(self):
        """Return every address that was asked for since the page was opened."""
        logged = self.driver.get_log("performance")
        messages = [json.loads(entry["message"])["message"] for entry in logged]
        sent = [m["params"] for m in messages if m["method"] == "Network.requestWillBeSent"]
        return [parameters["request"]["url"] for parameters in sent]


@pytest.fixture(scope="session")
def browser(tmp_path_factory, unavailable):
    """One headless Chromium for all tests."""
    from selenium import webdriver

    chromium, chromedriver = "/usr/bin/chromium", "/usr/bin/chromedriver"
    if not (Path(chromium).exists() and Path(chromedriver).exists()):
        unavailable("browser", "apt-get install chromium chromium-driver")
    options = webdriver.ChromeOptions()
    options.binary_location = chromium
    for flag in (
        *("headless=new", "no-sandbox", "disable-gpu", "disable-quic", "no-first-run"),
        *("disable-background-networking", "disable-component-update", "disable-sync"),
        f"user-data-dir={tmp_path_factory.mktemp('chromium')}",
    ):
        options.add_argument(f"--{flag}")
    options.set_capability("goog:loggingPrefs", {"browser": "ALL", "performance": "ALL"})
    # With the driver's path given, selenium does not go looking for one on the network.
    driver = webdriver.Chrome(options, webdriver.ChromeService(chromedriver))
    # Away from the browser's own first page, whose requests would be taken for ours.
    driver.get("about:blank")
    yield Browser(driver)
    driver.quit()


@pytest.fixture
def bench(root, monkeypatch):
    """What imports a benchmark by name, as they import each other."""
    monkeypatch.syspath_prepend(str(root / "benchmarks"))
    return importlib.import_module


@pytest.fixture
def snakemake(tmp_path):
    """Run a snakemake command line with results in tmp_path; return what it printed."""
    from tests import commands

    return partial(commands.snakemake, tmp_path)


@pytest.fixture
def config_file(tmp_path):
    """Write the tiny study as a change leaves it; return its path."""

    def write(change):
        study, path = load_yaml(ROOT / "tests/tiny.yaml"), tmp_path / "study.yaml"
        change(study)
        path.write_text(yaml.safe_dump(study))
        return str(path)

    return write
