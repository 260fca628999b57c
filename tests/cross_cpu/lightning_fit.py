"""Lightning fits of a small convolutional network and a small vision transformer on scikit-learn's digits."""

from pathlib import Path
from typing import Any

import lightning
import torch
from sklearn.datasets import load_digits
from torch import nn
from torch.utils.data import DataLoader, TensorDataset


class Patches(nn.Module):
    """A vision transformer on 8 by 8 images in patches of 2 by 2."""

    def __init__(self) -> None:
        super().__init__()
        self.patches = nn.Conv2d(1, 24, 2, stride=2)
        self.places = nn.Parameter(torch.zeros(16, 24))
        layer = nn.TransformerEncoderLayer(24, 4, 48, dropout=0.1, activation="gelu", batch_first=True)
        self.layers = nn.TransformerEncoder(layer, 1, enable_nested_tensor=False)
        self.head = nn.Linear(24, 10)

    def forward(self, images: Any) -> Any:
        tokens = self.patches(images).flatten(2).transpose(1, 2) + self.places
        return self.head(self.layers(tokens).mean(1))


class Task(lightning.LightningModule):
    """Classification with AdamW and a cosine schedule."""

    def __init__(self, model: nn.Module) -> None:
        super().__init__()
        self.model = model

    def training_step(self, batch: Any, index: int) -> Any:
        return nn.functional.cross_entropy(self.model(batch[0]), batch[1])

    def configure_optimizers(self) -> Any:
        optimizer = torch.optim.AdamW(self.parameters(), lr=3e-3)
        return [optimizer], [torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, 4)]


def fit(name: str, folder: Path) -> list[Any]:
    """The weights of `cnn` or `vit` after four steps of fitting."""
    images, labels = load_digits(return_X_y=True)
    images = torch.tensor(images[:64], dtype=torch.float32).reshape(-1, 1, 8, 8) / 16
    model: nn.Module = Patches()
    if name == "cnn":
        model = nn.Sequential(
            nn.Conv2d(1, 8, 3, padding=1), nn.BatchNorm2d(8), nn.ReLU(), nn.MaxPool2d(2), nn.Flatten(),
            nn.Dropout(0.1), nn.Linear(128, 10),
        )  # fmt: skip
    task = Task(model)
    trainer = lightning.Trainer(
        max_epochs=2, accelerator="cpu", devices=1, logger=False, enable_checkpointing=False,
        enable_progress_bar=False, enable_model_summary=False, default_root_dir=folder, gradient_clip_val=1.0,
    )  # fmt: skip
    trainer.fit(task, DataLoader(TensorDataset(images, torch.tensor(labels[:64])), batch_size=32, shuffle=True))
    return [value.detach().cpu() for value in task.state_dict().values()]
