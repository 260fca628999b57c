"""A simulation that seeds itself with the clock."""

import random
import time

import numpy as np

random.seed(time.time())
np.random.seed(int(time.time() * 1000) % 2**32)

path = np.cumsum(np.random.normal(0.0005, 0.02, 250))
drawdown = (np.maximum.accumulate(path) - path).max()
np.save("path.npy", path)
with open("summary.txt", "w") as f:
    f.write(f"final {path[-1]:.6f}\ndrawdown {drawdown:.6f}\npick {random.choice('abcdefgh')}\n")
print(f"final return {path[-1]:+.4f}")
