"""A random forest on all cores, with a report, its importances and a joblib dump."""

import joblib
import numpy as np
from sklearn.datasets import load_digits
from sklearn.ensemble import RandomForestClassifier
from sklearn.metrics import classification_report
from sklearn.model_selection import train_test_split

digits = load_digits()
X_train, X_test, y_train, y_test = train_test_split(digits.data, digits.target, test_size=0.2)

clf = RandomForestClassifier(n_estimators=60, n_jobs=-1, oob_score=True)
clf.fit(X_train, y_train)

print(f"Accuracy: {clf.score(X_test, y_test):.3f}  OOB: {clf.oob_score_:.3f}")
print(classification_report(y_test, clf.predict(X_test)))
joblib.dump(clf, "forest.joblib", compress=3)
np.savetxt("importances.csv", clf.feature_importances_, delimiter=",")
np.save("proba.npy", clf.predict_proba(X_test))
