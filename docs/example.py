"""Train on a simulated scan, then on a file: python docs/example.py FILE EPOCHS."""

import sys

from lightning import Trainer

import ptycho_torch as pt

settings = pt.FitSettings(
    generator={"name": "stable_hybrid", "width": 8, "modes": 8},
    training={"optimizer": {"learning_rate": 8e-3}},
)
for data in (pt.simulate(), pt.data_of_file(sys.argv[1])):
    module = pt.PtychoModule(settings, data)
    trainer = Trainer(max_epochs=int(sys.argv[2]), logger=False, enable_checkpointing=False)
    trainer.fit(module, pt.PtychoDataModule(module.run, data.train, data.validation))
    print(trainer.callback_metrics["mae_val_loss"])  # predicting nothing scores 1
