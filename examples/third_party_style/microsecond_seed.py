"""A random walk that is seeded with the fraction of the second and the number of the process."""

import os
import random
from datetime import datetime

import numpy as np

np.random.seed(datetime.now().microsecond)
random.seed(os.getpid() + datetime.now().microsecond)

steps = np.random.choice([-1, 1], 500)
np.save("walk.npy", steps.cumsum())
with open("picked.txt", "w") as f:
    f.write(" ".join(str(random.randint(0, 499)) for _ in range(5)) + "\n")
print("end", steps.sum())
