"""A bootstrap confidence interval with NumPy's new generators, none of them seeded."""

import json

import numpy as np
from sklearn.datasets import load_breast_cancer

values = load_breast_cancer().data[:, 0]


def resample(values, rng):
    return rng.choice(values, size=len(values), replace=True).mean()


generators = [np.random.default_rng() for _ in range(4)]
means = np.array([resample(values, rng) for rng in generators for _ in range(500)])
low, high = np.percentile(means, [2.5, 97.5])
legacy = np.random.RandomState()
permuted = [abs(legacy.permutation(values)[:280].mean() - values.mean()) for _ in range(500)]

with open("interval.json", "w") as f:
    json.dump({"mean": means.mean(), "low": low, "high": high, "permutation_sd": float(np.std(permuted))}, f, indent=2)
np.savez("bootstrap.npz", means=means, permuted=permuted)
print(f"mean {values.mean():.3f}, 95% CI [{low:.3f}, {high:.3f}]")
