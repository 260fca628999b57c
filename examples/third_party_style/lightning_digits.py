"""Lightning with a CSV logger and checkpoints that are called after their validation loss."""

import lightning as L
import torch
from lightning.pytorch.callbacks import ModelCheckpoint
from lightning.pytorch.loggers import CSVLogger
from sklearn.datasets import load_digits
from torch import nn
from torch.utils.data import DataLoader, TensorDataset, random_split


class Classifier(L.LightningModule):
    def __init__(self, lr=2e-3):
        super().__init__()
        self.save_hyperparameters()
        self.net = nn.Sequential(
            nn.Conv2d(1, 8, 3, padding=1), nn.ReLU(), nn.MaxPool2d(2), nn.Flatten(), nn.Dropout(0.1), nn.Linear(128, 10)
        )

    def training_step(self, batch, _):
        loss = nn.functional.cross_entropy(self.net(batch[0]), batch[1])
        self.log("train_loss", loss)
        return loss

    def validation_step(self, batch, _):
        self.log("val_loss", nn.functional.cross_entropy(self.net(batch[0]), batch[1]), prog_bar=True)

    def configure_optimizers(self):
        return torch.optim.Adam(self.parameters(), lr=self.hparams.lr)


x, y = load_digits(return_X_y=True)
data = TensorDataset(torch.tensor(x, dtype=torch.float32).reshape(-1, 1, 8, 8) / 16, torch.tensor(y))
train, val = random_split(data, [0.8, 0.2])
checkpoint = ModelCheckpoint(monitor="val_loss", filename="digits-{epoch:02d}-{val_loss:.4f}")
trainer = L.Trainer(
    max_epochs=2,
    accelerator="cpu",
    logger=CSVLogger("logs"),
    callbacks=[checkpoint],
    enable_progress_bar=False,
    log_every_n_steps=10,
    enable_model_summary=False,
)
trainer.fit(Classifier(), DataLoader(train, 64, shuffle=True), DataLoader(val, 256))
print("best", checkpoint.best_model_path.split("logs/")[-1], f"{checkpoint.best_model_score:.6f}")
