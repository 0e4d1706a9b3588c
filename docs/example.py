"""Train on a simulated scan, then on a file: python docs/example.py FOLDER EPOCHS."""

import sys
from pathlib import Path

from lightning import Trainer

from ptycho_torch.config.arms import run_settings
from ptycho_torch.config.read import read_study
from ptycho_torch.config.scan import FitSettings
from ptycho_torch.data.module import ScanDataModule
from ptycho_torch.data.training import data_of_file, data_of_splits
from ptycho_torch.simulate.dataset import SPLITS, simulate_dataset
from ptycho_torch.train.module import PtychoModule

folder = Path(sys.argv[1])
splits, facts = {s: folder / f"{s}.npz" for s in SPLITS}, folder / "dataset.json"
study = read_study("config/config.yaml")
simulate_dataset(study.datasets["triangle_n32"], name="example", splits=splits, summary=facts)
simulated = data_of_splits(splits, facts, patch_px=32)
for data in (simulated, data_of_file(splits["train"], FitSettings(name="example"))):
    module = PtychoModule(run_settings(study, "triangle_n32", "stable", seed=0), data)
    trainer = Trainer(max_epochs=int(sys.argv[2]), logger=False, enable_checkpointing=False)
    trainer.fit(module, ScanDataModule(module.run, data.train, data.validation))
    print(trainer.callback_metrics["mae_val_loss"])  # predicting nothing scores 1
