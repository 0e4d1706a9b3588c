"""docs/start.md, run as it stands: what a newcomer pastes must work and give what it promises."""

import re
import subprocess
import sys
from pathlib import Path

from ptycho_torch.files import io
from ptycho_torch.networks.bundle import read_bundle

ROOT = Path(__file__).resolve().parents[1]


def test_the_example_trains_as_any_lightning_user_would_and_its_results_are_used(tmp_path):
    """One epoch instead of ten."""
    script = ROOT / "docs/example.py"
    assert len(script.read_text().splitlines()) <= 25
    text = (ROOT / "docs/start.md").read_text(encoding="utf-8")
    shown, used = re.findall(r"^```python\n(.*?)^```", text, re.M | re.S)
    assert shown == script.read_text()
    assert (ROOT / "docs" / re.search(r"\]\((img/\S+)\)", text).group(1)).exists()
    done = subprocess.run(
        [sys.executable, "-c", shown + used, str(tmp_path), "1"],
        cwd=ROOT, capture_output=True, text=True,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    losses = re.findall(r"tensor\(([\d.]+)", done.stdout)
    outcome, loss, error = re.search(r"(\w+) ([\d.]+)\n([\d.]+)\s*$", done.stdout).groups()
    assert outcome == "completed" and len(losses) == 2
    # Predicting nothing scores 1; a wrong scale or probe between the steps would not get below.
    assert all(0 < float(number) < 0.5 for number in (*losses, loss, error))
    assert read_bundle(tmp_path / "trained/bundle").settings.patch_px == 32
    assert "object" in io.npz_keys(tmp_path / "inferred/object.npz")
