"""A tiny transformer that learns to reverse sequences; checkpoints hold when they were made and how long it took."""

import time
from datetime import datetime

import torch
from torch import nn


class Reverser(nn.Module):
    def __init__(self, vocabulary=12, width=32, length=8):
        super().__init__()
        self.embed = nn.Embedding(vocabulary, width)
        self.position = nn.Parameter(torch.randn(length, width) * 0.02)
        layer = nn.TransformerEncoderLayer(width, 4, 64, dropout=0.1, batch_first=True)
        self.encoder = nn.TransformerEncoder(layer, 2)
        self.head = nn.Linear(width, vocabulary)

    def forward(self, x):
        return self.head(self.encoder(self.embed(x) + self.position))


model = Reverser()
opt = torch.optim.AdamW(model.parameters(), lr=2e-3)
schedule = torch.optim.lr_scheduler.OneCycleLR(opt, 2e-3, total_steps=60)
began = time.perf_counter()
for step in range(60):
    x = torch.randint(0, 12, (32, 8))
    loss = nn.functional.cross_entropy(model(x).transpose(1, 2), x.flip(1))
    opt.zero_grad()
    loss.backward()
    nn.utils.clip_grad_norm_(model.parameters(), 1.0)
    opt.step()
    schedule.step()
    if step % 20 == 19:
        print(f"[{datetime.now():%H:%M:%S}] step {step + 1} loss {loss.item():.5f}")
took = time.perf_counter() - began
torch.save({"model": model.state_dict(), "created": datetime.now().isoformat(), "train_seconds": took}, "reverser.pt")
print(f"{60 / took:.1f} steps/s")
