"""A small CNN on digits: worker processes that augment with NumPy's and Python's generators."""

import random
import time

import numpy as np
import torch
import torch.nn.functional as F
from sklearn.datasets import load_digits
from torch import nn
from torch.utils.data import DataLoader, Dataset


class Digits(Dataset):
    def __init__(self):
        images, self.labels = load_digits(return_X_y=True)
        self.images = images.reshape(-1, 8, 8).astype(np.float32)[:600] / 16

    def __len__(self):
        return len(self.images)

    def __getitem__(self, i):
        image = np.roll(self.images[i], random.randint(-1, 1), axis=1)
        image = image + np.random.normal(0, 0.05, image.shape).astype(np.float32)
        return torch.from_numpy(image[None]), int(self.labels[i])


class Net(nn.Module):
    def __init__(self):
        super().__init__()
        self.conv = nn.Conv2d(1, 12, 3, padding=1)
        self.fc = nn.Linear(12 * 16, 10)

    def forward(self, x):
        return self.fc(F.dropout(F.max_pool2d(F.relu(self.conv(x)), 2).flatten(1), 0.2, self.training))


if __name__ == "__main__":
    loader = DataLoader(Digits(), batch_size=50, shuffle=True, num_workers=2)
    net = Net()
    opt = torch.optim.SGD(net.parameters(), lr=0.1, momentum=0.9)
    for epoch in range(2):
        start = time.time()
        for x, t in loader:
            opt.zero_grad()
            loss = F.cross_entropy(net(x), t)
            loss.backward()
            opt.step()
        print(f"epoch {epoch + 1} loss {loss.item():.5f} ({time.time() - start:.2f}s)")
    torch.save(net.state_dict(), "cnn.pth")
