"""A permutation test with a generator and a forest that are seeded with the clock."""

import time

import numpy as np
from sklearn.datasets import load_wine
from sklearn.ensemble import RandomForestClassifier

X, y = load_wine(return_X_y=True)
rng = np.random.RandomState(int(time.time() * 1e6) % 2**32)
rows = rng.permutation(len(X))
train, test = rows[:120], rows[120:]
forest = RandomForestClassifier(25, max_depth=3, random_state=int(time.time() * 1000) % 1000)
forest.fit(X[train], y[train])
np.savetxt("importances.csv", forest.feature_importances_, fmt="%.8f")
print(f"accuracy {forest.score(X[test], y[test]):.4f}")
