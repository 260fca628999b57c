"""Train, say how good it is, save."""

import argparse
import sys

import torch
from torch import nn

from textcls.data import sentences

parser = argparse.ArgumentParser(prog="textcls")
parser.add_argument("--epochs", type=int, default=5)
parser.add_argument("--out", default="textcls.pt")
args = parser.parse_args()

samples = list(sentences(300))
words = {word for text, _ in samples for word in text.split()}
index = {word: number for number, word in enumerate(words)}
model = nn.Sequential(nn.EmbeddingBag(len(index), 8), nn.Linear(8, 2))
optimizer = torch.optim.Adam(model.parameters(), lr=0.05)
for epoch in range(args.epochs):
    right = 0
    for text, label in samples:
        logits = model(torch.tensor([[index[word] for word in text.split()]]))
        loss = nn.functional.cross_entropy(logits, torch.tensor([label]))
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        right += int(logits.argmax() == label)
    print(f"epoch {epoch}: {right / len(samples):.3f}", file=sys.stderr if epoch < 1 else sys.stdout)
torch.save({"state": model.state_dict(), "index": index}, args.out)
