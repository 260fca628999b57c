"""Fit Lightning's example with each seed: `lightning_fits.py DEVICE SEED…` prints a digest of every tensor as JSON.

One side of the twin of a user's own test: `seed_everything(seed, workers=True)`, `Trainer(deterministic=True)`; the
other side is another process (`lightning_twins.py`). On CUDA an operator without a deterministic form has to raise
within a fit.
"""

import hashlib
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


def digests(tensors):
    """Type, shape and bytes of each tensor, so that equal means equal in every bit."""
    return {
        name: f"{tensor.dtype} {tuple(tensor.shape)} {hashlib.sha256(_bytes(tensor)).hexdigest()}"
        for name, tensor in tensors.items()
    }


def _bytes(tensor):
    return tensor.contiguous().reshape(-1).view(torch.uint8).numpy().tobytes()


def refusal(accelerator):
    """What a fit says that takes an operator without a deterministic form."""
    try:
        fit("transformer", 42, accelerator, Refused)
    except RuntimeError as error:
        return str(error).splitlines()[0]
    return None


if __name__ == "__main__":
    device = "gpu" if sys.argv[1] == "cuda" else "cpu"
    answers = {
        kind: {seed: digests(fit(kind, int(seed), device)) for seed in sys.argv[2:]}
        for kind in ("transformer", "convolutions")
    }
    answers["refusal"] = refusal(device) if device == "gpu" else None
    sys.stdout.write(json.dumps(answers))
