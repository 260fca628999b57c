"""A character LSTM in the way of many tutorials: `chars = list(set(text))`."""

import torch
from torch import nn

text = "the quick brown fox jumps over the lazy dog. pack my box with five dozen liquor jugs. " * 4
chars = list(set(text))
stoi = {c: i for i, c in enumerate(chars)}
data = torch.tensor([stoi[c] for c in text])


class CharModel(nn.Module):
    def __init__(self, n, hidden=48):
        super().__init__()
        self.embed = nn.Embedding(n, 16)
        self.rnn = nn.LSTM(16, hidden, batch_first=True)
        self.head = nn.Linear(hidden, n)

    def forward(self, x, state=None):
        out, state = self.rnn(self.embed(x), state)
        return self.head(out), state


model = CharModel(len(chars))
opt = torch.optim.RMSprop(model.parameters(), lr=5e-3)
for step in range(40):
    starts = torch.randint(0, len(data) - 33, (16,))
    batch = torch.stack([data[s : s + 33] for s in starts])
    logits, _ = model(batch[:, :-1])
    loss = nn.functional.cross_entropy(logits.transpose(1, 2), batch[:, 1:])
    opt.zero_grad()
    loss.backward()
    opt.step()
x, state, out = torch.tensor([[stoi["t"]]]), None, "t"
for _ in range(60):
    logits, state = model(x, state)
    x = torch.multinomial(logits[:, -1].softmax(-1), 1)
    out += chars[x.item()]
print(f"loss {loss.item():.4f}")
print("sample:", out)
torch.save({"model": model.state_dict(), "chars": chars}, "char_lstm.pt")
