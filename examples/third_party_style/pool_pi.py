"""Monte Carlo in a pool of processes; the parts arrive in whatever order."""

import multiprocessing as mp
import random

import numpy as np


def inside(task):
    number, draws = task
    points = np.random.rand(draws, 2)
    jitter = random.random() * 1e-6
    return number, int((np.hypot(points[:, 0], points[:, 1]) < 1 + jitter).sum())


if __name__ == "__main__":
    tasks = [(number, 20_000 + 1000 * (number % 3)) for number in range(16)]
    with mp.Pool(4) as pool, open("parts.csv", "w") as f:
        total = 0
        for number, hits in pool.imap_unordered(inside, tasks):
            f.write(f"{number},{hits}\n")
            total += hits
    print("pi is about", 4 * total / sum(draws for _, draws in tasks))
