"""Dropout masks from a torch generator that seeds itself."""

import torch

generator = torch.Generator()
print("seed", generator.seed())
weights = torch.linspace(-1, 1, 64).reshape(8, 8)
masks = [torch.rand(8, 8, generator=generator) < 0.5 for _ in range(10)]
torch.save(torch.stack([weights * mask for mask in masks]).mean(0), "mean.pt")
