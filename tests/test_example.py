"""docs/example.md, run as it stands: what a newcomer pastes must work and give what it promises."""

import os
import re
import subprocess
import sys
from pathlib import Path

from ptycho_torch.files import io
from ptycho_torch.networks.bundle import read_bundle

ROOT = Path(__file__).resolve().parents[1]


def test_the_python_example_trains_infers_and_draws(tmp_path):
    """Two epochs instead of ten; every block is run, in order, by the script beside the document."""
    done = subprocess.run(
        [sys.executable, "docs/example.py", str(tmp_path / "out"), "2"],
        cwd=ROOT, capture_output=True, text=True, env={**os.environ, "MPLBACKEND": "agg"},
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    outcome, loss, error = re.search(r"(\w+) ([\d.]+)\n([\d.]+)\s*$", done.stdout).groups()
    assert outcome == "completed"
    # Predicting nothing scores 1; a wrong scale or probe between the steps would not get below.
    assert 0 < float(loss) < 0.5 and 0 < float(error) < 0.5
    assert read_bundle(tmp_path / "out/trained/bundle").settings.patch_px == 32
    assert "object" in io.npz_keys(tmp_path / "out/inferred/object.npz")
    assert (tmp_path / "out/example.png").stat().st_size > 10_000


def test_the_example_shows_its_picture_and_every_block():
    text = (ROOT / "docs/example.md").read_text(encoding="utf-8")
    assert (ROOT / "docs" / re.search(r"\]\((img/\S+)\)", text).group(1)).exists()
    assert len(re.findall(r"^```python", text, re.M)) == 4
