"""Run the blocks of docs/example.md as one program: python docs/example.py FOLDER [EPOCHS]."""

import re
import sys
from pathlib import Path

if __name__ == "__main__":
    if len(sys.argv) not in (2, 3):
        sys.exit(__doc__)
    text = Path(__file__).with_suffix(".md").read_text(encoding="utf-8")
    Path(sys.argv[1]).mkdir(parents=True, exist_ok=True)
    epochs = int(sys.argv[2]) if len(sys.argv) == 3 else 10
    blocks = re.findall(r"^```python\n(.*?)^```", text, re.M | re.S)
    exec("\n".join(blocks), {"FOLDER": sys.argv[1], "EPOCHS": epochs})
