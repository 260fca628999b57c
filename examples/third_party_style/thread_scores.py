"""Models scored in threads, their results appended in the order in which they are ready."""

import json
import threading
import time

from sklearn.datasets import load_iris
from sklearn.linear_model import LogisticRegression
from sklearn.model_selection import cross_val_score
from sklearn.naive_bayes import GaussianNB
from sklearn.neighbors import KNeighborsClassifier
from sklearn.tree import DecisionTreeClassifier

X, y = load_iris(return_X_y=True)
results, lock = [], threading.Lock()


def score(model):
    start = time.time()
    value = cross_val_score(model, X, y, cv=5).mean()
    with lock:
        results.append({"model": type(model).__name__, "accuracy": round(value, 6)})
        print(f"{type(model).__name__} done in {time.time() - start:.3f}s")


models = [LogisticRegression(max_iter=500), GaussianNB(), KNeighborsClassifier(), DecisionTreeClassifier(max_depth=2)]
models += [KNeighborsClassifier(k) for k in (3, 7, 9, 11, 13)] + [
    DecisionTreeClassifier(max_depth=d) for d in (1, 4, 5)
]
workers = [threading.Thread(target=score, args=(model,)) for model in models]
for worker in workers:
    worker.start()
for worker in workers:
    worker.join()
with open("scores.json", "w") as f:
    json.dump(results, f, indent=1)
