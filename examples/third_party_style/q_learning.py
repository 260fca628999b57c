"""Tabular Q-learning on a small grid, with its own generator and a defaultdict for the table."""

import pickle
from collections import defaultdict

import numpy as np

rng = np.random.default_rng()
moves = {"up": (-1, 0), "down": (1, 0), "left": (0, -1), "right": (0, 1)}
table = defaultdict(lambda: dict.fromkeys(moves, 0.0))
for episode in range(150):
    state, steps = (0, 0), 0
    while state != (4, 4) and steps < 60:
        if rng.random() < 0.2:
            action = rng.choice(list(moves))
        else:
            action = max(table[state], key=table[state].get)
        row, column = (min(max(s + d, 0), 4) for s, d in zip(state, moves[action]))
        reward = 1.0 if (row, column) == (4, 4) else -0.01
        best = max(table[row, column].values())
        table[state][action] += 0.3 * (reward + 0.95 * best - table[state][action])
        state, steps = (row, column), steps + 1
with open("q_table.pkl", "wb") as f:
    pickle.dump(dict(table), f)
print("value of the start", max(table[0, 0].values()), "last episode", steps, "steps")
