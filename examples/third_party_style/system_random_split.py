"""A split that asks the operating system for its randomness, because that is "more random"."""

import json
import random

from sklearn.datasets import load_iris
from sklearn.linear_model import LogisticRegression

X, y = load_iris(return_X_y=True)
indices = list(range(len(X)))
random.SystemRandom().shuffle(indices)
train, test = indices[:100], indices[100:]
clf = LogisticRegression(max_iter=300).fit(X[train], y[train])
accuracy = clf.score(X[test], y[test])
with open("result.json", "w") as f:
    json.dump({"accuracy": accuracy, "coefficients": clf.coef_.tolist(), "train": train}, f)
print(f"accuracy {accuracy:.3f}")
