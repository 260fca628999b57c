"""A comparison of models that is mostly about how long they take."""

import csv
import time

import numpy as np
from sklearn.datasets import load_digits
from sklearn.linear_model import RidgeClassifier
from sklearn.naive_bayes import GaussianNB
from sklearn.neighbors import NearestCentroid

X, y = load_digits(return_X_y=True)
noisy = X + np.random.normal(0, 2.0, X.shape)
with open("timings.csv", "w", newline="") as f:
    writer = csv.writer(f)
    writer.writerow(["model", "accuracy", "fit_seconds", "predictions_per_sec"])
    for model in (RidgeClassifier(), GaussianNB(), NearestCentroid()):
        start = time.perf_counter()
        model.fit(noisy, y)
        fitted = time.perf_counter()
        accuracy = model.score(noisy, y)
        rate = len(X) / (time.perf_counter() - fitted)
        writer.writerow([type(model).__name__, f"{accuracy:.4f}", f"{fitted - start:.6f}", f"{rate:.0f}"])
        print(f"{type(model).__name__:18s} {accuracy:.4f}  {1000 * (fitted - start):7.2f} ms")
