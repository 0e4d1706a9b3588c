"""A GPU computes what a CPU does; `PTYCHO_TEST_DEVICE=cpu` tries these tests without one, in small.

Planted is bad data, not bad code, which a recorded step would not see.
"""

import os
from dataclasses import replace

import numpy as np
import pytest
import torch

from ptycho_torch.config.training import AdaptiveClip
from ptycho_torch.data.module import epoch_order
from ptycho_torch.runtime.locks import choose_device
from ptycho_torch.train import checkpoint
from ptycho_torch.train.device import numerics
from ptycho_torch.train.fit import fit
from ptycho_torch.train.module import PtychoModule

pytestmark = pytest.mark.gpu

CUDA = os.environ.get("PTYCHO_TEST_DEVICE", "cuda") == "cuda"
DEVICE = "gpu" if CUDA else "cpu"
# Groups are left over after the last full batch of an epoch.
SIZE = ("full.yaml", 144, 2) if CUDA else ("../tests/tiny.yaml", 52, 2)
RECORDED = pytest.mark.parametrize("recorded", [False, True] if CUDA else [False])
AGC = AdaptiveClip(gradient_clip_algorithm="agc", max_ratio=0.01)


@pytest.fixture
def case(bench):
    """The control and its data, with changed settings of training and execution."""

    def make(training=None, **execution):
        made = bench("overhead").make_case(*SIZE, **{"accelerator": DEVICE, **execution})
        changed = made.run.training.model_copy(update=training or {})
        return replace(made, run=made.run.model_copy(update={"training": changed}))

    return make


def trained(case, folder=None):
    module, data = PtychoModule(case.run, case.data), (case.data.train, case.data.validation)
    result = fit(module, *data, folder=folder)
    assert result.device.type == ("cuda" if case.run.execution.accelerator == "gpu" else "cpu")
    return result


def losses(result):
    rows = result.module.history.rows
    return [row[f"{name}_val_loss"] for row in rows for name in ("mae", "poisson")]


def gradients(case):
    """The loss of the first batch, the gradient as a vector, and the module that has it."""
    run, module = case.run, PtychoModule(case.run, case.data)
    device = choose_device(run.execution.accelerator)
    batch = case.data.train.to(device).take(slice(run.training.batch_size))
    module.to(device).train()
    with numerics(run.execution):
        loss = module.training_loss(batch)
        loss.backward()
    flat = torch.cat([p.grad.flatten().cpu().double() for p in module.parameters()])
    return loss.item(), flat, module


@RECORDED
@pytest.mark.parametrize("epoch", [1, 2])
@pytest.mark.parametrize(("value", "outcome"), [(np.inf, "non_finite"), (1e6, "exploded")])
def test_a_bad_group_ends_the_run_in_its_own_step(case, recorded, epoch, value, outcome):
    """The step that the data's order says; the group of the second epoch sat out the first."""
    made = case({"explode_patience_steps": 1}, cuda_graphs=recorded)
    size, amplitude = made.run.training.batch_size, made.data.train.amplitude_BCHW
    steps = len(amplitude) // size
    orders = [epoch_order(made.run.seed, e, len(amplitude))[: steps * size] for e in (0, 1)]
    group = orders[0][5 * size] if epoch == 1 else np.setdiff1d(orders[1], orders[0])[0]
    step = np.flatnonzero(np.concatenate(orders) == group)[0] // size + 1
    amplitude[group] = value
    failure = trained(made).module.monitor.failure
    assert (failure.outcome, failure.epoch, failure.step) == (outcome, epoch, step)


@pytest.mark.parametrize("loss", ["mae", "poisson"])
@pytest.mark.parametrize(
    ("precision", "least", "most"), [("fp32", 0, 2e-4), ("tf32", 1e-5, 0.05), ("bf16", 1e-4, 0.2)]
)
def test_a_gradient_is_the_cpus_within_its_precision(case, loss, precision, least, most):
    """A pixel whose residual changes its sign turns its part of the MAE's gradient round."""
    expected, reference, _ = gradients(case({"loss": loss}, accelerator="cpu"))
    found, gradient, _ = gradients(case({"loss": loss}, precision=precision))
    error = float((gradient - reference).norm() / reference.norm())
    assert found == pytest.approx(expected, rel=most)
    assert error <= (most if loss == "poisson" else max(most, 0.02))
    # Else the precision that was requested is not the one that was computed in.
    assert error >= least or (precision == "tf32" and not CUDA)


@pytest.mark.parametrize(("loss", "clip"), [("mae", {}), ("poisson", {}), ("mae", {"clip": AGC})])
def test_a_training_is_the_cpus_within_rounding(case, loss, clip):
    """Rounding grows from step to step, but not to percents in these."""
    there = trained(case({"loss": loss, "epochs": 1}, **clip))
    here = trained(case({"loss": loss, "epochs": 1}, accelerator="cpu", **clip))
    assert losses(there) == pytest.approx(losses(here), rel=0.03)
    assert there.module.monitor.failure is here.module.monitor.failure is None
    shares = [r.module.monitor.table().clipped_share for r in (there, here)]
    assert shares[0] == pytest.approx(shares[1], abs=0.02)


@pytest.mark.skipif(not CUDA, reason="CUDA's own")
@pytest.mark.parametrize(
    "changes", [*({"precision": name} for name in ("fp32", "tf32", "bf16")), {"clip": AGC}]
)
def test_recorded_steps_are_the_steps(case, changes):
    eager, recorded = (trained(case(cuda_graphs=graphs, **changes)) for graphs in (False, True))
    assert losses(recorded) == pytest.approx(losses(eager), rel=1e-3)


@RECORDED
def test_a_stopped_training_resumes_to_the_same_losses(case, recorded, tmp_path, monkeypatch):
    made = case(cuda_graphs=recorded)
    whole = trained(made)
    monkeypatch.setattr(checkpoint, "SHARE", float("inf"))
    plain = PtychoModule.training_step

    def stopped(self, batch, batch_idx):
        plain(self, batch, batch_idx)
        if self.current_epoch == 1 and batch_idx == 3:
            raise KeyError

    monkeypatch.setattr(PtychoModule, "training_step", stopped)
    with pytest.raises(KeyError):
        trained(made, tmp_path)
    steps = []

    def counted(self, batch, batch_idx):
        steps.append(batch_idx)
        plain(self, batch, batch_idx)

    monkeypatch.setattr(PtychoModule, "training_step", counted)
    resumed = trained(made, tmp_path)
    assert 2 * len(steps) == resumed.module.monitor.steps
    assert losses(resumed) == pytest.approx(losses(whole), rel=1e-3)
