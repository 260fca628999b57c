"""A small network on scikit-learn's digits, with shuffling, dropout and worker processes. Run it strictly:

harness exec -- python digits.py --epochs 3
"""

import argparse

import torch
from sklearn.datasets import load_digits
from torch import nn
from torch.utils.data import DataLoader, TensorDataset, random_split

parser = argparse.ArgumentParser()
parser.add_argument("--epochs", type=int, default=3)
epochs = parser.parse_args().epochs

images, labels = load_digits(return_X_y=True)
data = TensorDataset(torch.tensor(images, dtype=torch.float32).reshape(-1, 1, 8, 8) / 16, torch.tensor(labels))
train, test = random_split(data, [0.8, 0.2])
model = nn.Sequential(
    nn.Conv2d(1, 16, 3, padding=1), nn.ReLU(), nn.MaxPool2d(2), nn.Flatten(), nn.Dropout(0.2), nn.Linear(256, 10)
)
optimizer = torch.optim.AdamW(model.parameters(), lr=3e-3)
for epoch in range(epochs):
    for batch, target in DataLoader(train, batch_size=32, shuffle=True, num_workers=2):
        optimizer.zero_grad()
        loss = nn.functional.cross_entropy(model(batch), target)
        loss.backward()
        optimizer.step()
    print(f"epoch {epoch + 1}: loss {loss.item():.6f}")
model.eval()
with torch.no_grad():
    right = sum((model(batch).argmax(1) == target).sum().item() for batch, target in DataLoader(test, batch_size=256))
print(f"accuracy {right / len(test):.4f}")
torch.save(model.state_dict(), "model.pt")
