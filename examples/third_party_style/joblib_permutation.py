"""A permutation test with joblib on all cores; each job draws from a generator of its own."""

import joblib
import numpy as np
from sklearn.datasets import load_iris

X, y = load_iris(return_X_y=True)
a, b = X[y == 1, 1], X[y == 2, 1]
observed = abs(a.mean() - b.mean())


def null_statistics(count):
    rng = np.random.default_rng()
    pooled = np.concatenate([a, b])
    return [abs(np.diff([part.mean() for part in np.split(rng.permutation(pooled), 2)])[0]) for _ in range(count)]


if __name__ == "__main__":
    parts = joblib.Parallel(n_jobs=-1)(joblib.delayed(null_statistics)(200) for _ in range(6))
    null = np.concatenate(parts)
    joblib.dump({"observed": observed, "null": null}, "permutation.pkl")
    print(f"p = {(1 + (null >= observed).sum()) / (1 + len(null)):.4f}")
