"""What a careful author does: every `random_state` is set. This repeats in bare Python too."""

import json

from sklearn.datasets import load_wine
from sklearn.ensemble import ExtraTreesClassifier
from sklearn.model_selection import cross_val_score, train_test_split

X, y = load_wine(return_X_y=True)
X_train, X_test, y_train, y_test = train_test_split(X, y, test_size=0.3, random_state=0, stratify=y)
clf = ExtraTreesClassifier(n_estimators=50, random_state=0).fit(X_train, y_train)
scores = cross_val_score(clf, X, y, cv=3)
with open("result.json", "w") as f:
    json.dump({"test": clf.score(X_test, y_test), "cv": scores.tolist()}, f)
print(f"test accuracy {clf.score(X_test, y_test):.4f}")
