"""A variational autoencoder; the samples that it draws in the end go to an .npz."""

import numpy as np
import torch
from sklearn.datasets import load_digits
from torch import nn

x = torch.tensor(load_digits().data, dtype=torch.float32)[:800] / 16
encoder = nn.Sequential(nn.Linear(64, 48), nn.ReLU(), nn.Linear(48, 8))
decoder = nn.Sequential(nn.Linear(4, 48), nn.ReLU(), nn.Linear(48, 64), nn.Sigmoid())
optimizer = torch.optim.AdamW([*encoder.parameters(), *decoder.parameters()], lr=3e-3)
for epoch in range(5):
    total = 0.0
    for batch in x[torch.randperm(len(x))].split(64):
        mu, logvar = encoder(batch).chunk(2, dim=1)
        z = mu + torch.randn_like(mu) * (0.5 * logvar).exp()
        reconstruction = nn.functional.binary_cross_entropy(decoder(z), batch, reduction="sum")
        loss = reconstruction - 0.5 * (1 + logvar - mu**2 - logvar.exp()).sum()
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        total += loss.item()
    print(f"epoch {epoch}: elbo {-total / len(x):.4f}")
with torch.no_grad():
    np.savez("samples.npz", samples=decoder(torch.randn(16, 4)).numpy(), codes=encoder(x)[:, :4].numpy())
