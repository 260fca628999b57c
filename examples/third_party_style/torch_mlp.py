"""A plain PyTorch multi-layer perceptron with command line defaults and best-checkpoint saving."""

import argparse
import os

import torch
import torch.nn as nn
from sklearn.datasets import load_breast_cancer
from torch.utils.data import DataLoader, TensorDataset, random_split

parser = argparse.ArgumentParser()
parser.add_argument("--epochs", type=int, default=4)
parser.add_argument("--lr", type=float, default=1e-3)
parser.add_argument("--batch-size", type=int, default=32)
args = parser.parse_args()

X, y = load_breast_cancer(return_X_y=True)
X = torch.tensor((X - X.mean(0)) / X.std(0), dtype=torch.float32)
dataset = TensorDataset(X, torch.tensor(y, dtype=torch.float32))
train_set, val_set = random_split(dataset, [0.8, 0.2])
model = nn.Sequential(nn.Linear(30, 32), nn.ReLU(), nn.Dropout(0.3), nn.Linear(32, 1))
optimizer = torch.optim.Adam(model.parameters(), lr=args.lr, weight_decay=1e-4)
criterion = nn.BCEWithLogitsLoss()
best = float("inf")
os.makedirs("checkpoints", exist_ok=True)
for epoch in range(1, args.epochs + 1):
    model.train()
    for xb, yb in DataLoader(train_set, batch_size=args.batch_size, shuffle=True):
        optimizer.zero_grad()
        loss = criterion(model(xb).squeeze(1), yb)
        loss.backward()
        optimizer.step()
    model.eval()
    with torch.no_grad():
        val_loss = sum(criterion(model(xb).squeeze(1), yb).item() for xb, yb in DataLoader(val_set, batch_size=64))
    print(f"Epoch {epoch}: val_loss={val_loss:.6f}")
    if val_loss < best:
        best = val_loss
        state = {"epoch": epoch, "model": model.state_dict(), "optimizer": optimizer.state_dict(), "args": vars(args)}
        torch.save(state, f"checkpoints/best_{epoch:02d}_{val_loss:.4f}.pt")
