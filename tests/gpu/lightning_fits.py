"""Fit Lightning's example twice with one seed and once with another: `lightning_fits.py DEVICE` prints what is equal.

The twin of a user's own test: `seed_everything(seed, workers=True)`, `Trainer(deterministic=True)`, every tensor
compared by `torch.equal`. On CUDA an operator without a deterministic form has to raise within a fit.
"""

import importlib.util
import json
import logging
import sys
import warnings
from pathlib import Path

import lightning
import torch
from torch.utils.data import DataLoader, Subset

warnings.simplefilter("ignore")
logging.getLogger("lightning.pytorch").setLevel(logging.ERROR)
EXAMPLE = Path(__file__).parents[2] / "examples" / "lightning_digits.py"


def _example():
    spec = importlib.util.spec_from_file_location("lightning_digits", EXAMPLE)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


example = _example()


class Refused(example.Classifier):
    """Ends in a step whose derivative CUDA adds up in any order."""

    def training_step(self, batch):
        """The loss, through a sampling grid."""
        images, _ = batch
        grid = torch.zeros(len(images), 4, 4, 2, device=self.device)
        images = images * self.model.token.mean()
        return torch.nn.functional.grid_sample(images, grid, align_corners=False).sum()


def fit(kind, seed, accelerator, made=example.Classifier):
    """All tensors of one fit, by name: weights and the optimizer's state."""
    lightning.seed_everything(seed, workers=True)
    model = made(kind)
    trainer = lightning.Trainer(
        max_epochs=2, limit_train_batches=6, limit_val_batches=1, accelerator=accelerator, devices=1,
        deterministic=True, logger=False, enable_checkpointing=False, enable_progress_bar=False,
        enable_model_summary=False,
    )  # fmt: skip
    data = Subset(example.Digits(), range(400))
    loaders = DataLoader(data, batch_size=32, shuffle=True), DataLoader(data, batch_size=64)
    trainer.fit(model, *loaders)
    tensors = {f"model/{name}": tensor for name, tensor in model.state_dict().items()}
    for number, state in trainer.optimizers[0].state_dict()["state"].items():
        tensors |= {f"optimizer/{number}/{name}": value for name, value in state.items()}
    return {name: tensor.detach().cpu().clone() for name, tensor in tensors.items()}


def compare(kind, accelerator):
    """How many tensors there are, how many differ between equal seeds, and how many weights between others."""
    one, same, other = (fit(kind, seed, accelerator) for seed in (42, 42, 7))
    assert one.keys() == same.keys() == other.keys()
    return {
        "tensors": len(one),
        "differ": [name for name in one if not torch.equal(one[name], same[name])],
        "weights": [name for name in one if name.startswith("model/") and one[name].is_floating_point()],
        "other": [name for name in one if not torch.equal(one[name], other[name])],
    }


def refusal(accelerator):
    """What a fit says that takes an operator without a deterministic form."""
    try:
        fit("transformer", 42, accelerator, Refused)
    except RuntimeError as error:
        return str(error).splitlines()[0]
    return None


if __name__ == "__main__":
    device = "gpu" if sys.argv[1] == "cuda" else "cpu"
    answers = {kind: compare(kind, device) for kind in ("transformer", "convolutions")}
    answers["refusal"] = refusal(device) if device == "gpu" else None
    sys.stdout.write(json.dumps(answers))
