"""A Lightning data module and a regression, in the style of `import pytorch_lightning as pl`."""

import pytorch_lightning as pl
import torch
from sklearn.datasets import load_diabetes
from torch import nn
from torch.utils.data import DataLoader, TensorDataset


class Diabetes(pl.LightningDataModule):
    def setup(self, stage):
        x, y = load_diabetes(return_X_y=True)
        order = torch.randperm(len(x))
        x, y = torch.tensor(x, dtype=torch.float32)[order], torch.tensor(y, dtype=torch.float32)[order] / 100
        self.train, self.val = TensorDataset(x[:350], y[:350]), TensorDataset(x[350:], y[350:])

    def train_dataloader(self):
        return DataLoader(self.train, batch_size=32, shuffle=True, num_workers=1)

    def val_dataloader(self):
        return DataLoader(self.val, batch_size=128)


class Regression(pl.LightningModule):
    def __init__(self):
        super().__init__()
        self.net = nn.Sequential(nn.Linear(10, 16), nn.Tanh(), nn.Linear(16, 1))

    def training_step(self, batch, _):
        return nn.functional.mse_loss(self.net(batch[0]).squeeze(1), batch[1])

    def validation_step(self, batch, _):
        self.log("val_mse", nn.functional.mse_loss(self.net(batch[0]).squeeze(1), batch[1]))

    def configure_optimizers(self):
        return torch.optim.SGD(self.parameters(), lr=0.05)


if __name__ == "__main__":
    trainer = pl.Trainer(max_epochs=3, accelerator="cpu", logger=False, enable_progress_bar=False)
    trainer.fit(Regression(), datamodule=Diabetes())
    print({name: round(value.item(), 6) for name, value in trainer.callback_metrics.items()})
