"""A small vision transformer and a CNN on scikit-learn's digits, with Lightning. Run it strictly:

harness exec -- python lightning_digits.py
"""

import argparse

import lightning
import torch
from lightning.pytorch.callbacks import ModelCheckpoint
from lightning.pytorch.loggers import CSVLogger
from sklearn.datasets import load_digits
from torch import nn
from torch.utils.data import DataLoader, Dataset, random_split


class Digits(Dataset):
    """The 1,797 images of 8 by 8 pixels, each shifted by up to a pixel and with a little noise whenever it is read."""

    def __init__(self):
        images, labels = load_digits(return_X_y=True)
        self.images = torch.tensor(images, dtype=torch.float32).reshape(-1, 1, 8, 8) / 16
        self.labels = torch.tensor(labels)

    def __len__(self):
        return len(self.images)

    def __getitem__(self, index):
        down, right = torch.randint(-1, 2, (2,)).tolist()
        image = torch.roll(self.images[index], (down, right), (1, 2))
        return image + 0.05 * torch.randn_like(image), self.labels[index]


class Transformer(nn.Module):
    """A vision transformer of two layers over 16 patches of 2 by 2 pixels."""

    def __init__(self, width=32):
        super().__init__()
        self.patches = nn.Conv2d(1, width, 2, stride=2)
        self.token = nn.Parameter(torch.randn(1, 1, width) * 0.02)
        self.positions = nn.Parameter(torch.randn(1, 17, width) * 0.02)
        layer = nn.TransformerEncoderLayer(width, 4, 2 * width, dropout=0.1, batch_first=True, norm_first=True)
        self.layers = nn.TransformerEncoder(layer, 2, enable_nested_tensor=False)
        self.head = nn.Linear(width, 10)

    def forward(self, images):
        patches = self.patches(images).flatten(2).transpose(1, 2)
        tokens = torch.cat([self.token.expand(len(images), -1, -1), patches], dim=1) + self.positions
        return self.head(self.layers(tokens)[:, 0])


def convolutions():
    return nn.Sequential(
        nn.Conv2d(1, 16, 3, padding=1), nn.BatchNorm2d(16), nn.ReLU(), nn.MaxPool2d(2),
        nn.Conv2d(16, 32, 3, padding=1), nn.ReLU(), nn.Flatten(), nn.Dropout(0.2), nn.Linear(512, 10),
    )  # fmt: skip


class Classifier(lightning.LightningModule):
    def __init__(self, kind, rate=3e-3):
        super().__init__()
        self.save_hyperparameters()
        self.rate = rate
        self.model = Transformer() if kind == "transformer" else convolutions()

    def training_step(self, batch):
        images, labels = batch
        loss = nn.functional.cross_entropy(self.model(images), labels)
        self.log("loss", loss, prog_bar=True)
        return loss

    def validation_step(self, batch):
        images, labels = batch
        self.log("accuracy", (self.model(images).argmax(1) == labels).float().mean(), prog_bar=True)

    def configure_optimizers(self):
        optimizer = torch.optim.AdamW(self.parameters(), lr=self.rate)
        return [optimizer], [torch.optim.lr_scheduler.StepLR(optimizer, 1, 0.9)]


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("--epochs", type=int, default=8)
    parser.add_argument("--workers", type=int, default=1)
    parser.add_argument("--precision", default="32-true", help="or bf16-mixed")
    options = parser.parse_args()

    train, test = random_split(Digits(), [0.8, 0.2])
    for kind in ("transformer", "convolutions"):
        logger = CSVLogger("logs", name=kind)
        trainer = lightning.Trainer(
            max_epochs=options.epochs, precision=options.precision, logger=logger, enable_progress_bar=False,
            callbacks=[ModelCheckpoint(monitor="accuracy", mode="max", save_last=True)], log_every_n_steps=10,
        )  # fmt: skip
        shared = {"batch_size": 64, "num_workers": options.workers, "persistent_workers": options.workers > 0}
        trainer.fit(Classifier(kind), DataLoader(train, shuffle=True, **shared), DataLoader(test, **shared))
        print(
            f"{kind}: loss {trainer.callback_metrics['loss']:.6f}, accuracy {trainer.callback_metrics['accuracy']:.4f}"
        )


if __name__ == "__main__":
    main()
