"""A randomised search over processes, whose results table holds how long each fit took."""

import csv

from scipy.stats import loguniform
from sklearn.datasets import load_breast_cancer
from sklearn.model_selection import RandomizedSearchCV
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler
from sklearn.svm import SVC

X, y = load_breast_cancer(return_X_y=True)
pipe = make_pipeline(StandardScaler(), SVC(probability=False))
search = RandomizedSearchCV(
    pipe, {"svc__C": loguniform(1e-2, 1e2), "svc__gamma": loguniform(1e-4, 1e-1)}, n_iter=8, cv=3, n_jobs=-1
)
search.fit(X, y)

results = search.cv_results_
columns = ["mean_fit_time", "mean_score_time", "param_svc__C", "param_svc__gamma", "mean_test_score", "rank_test_score"]
with open("cv_results.csv", "w", newline="") as f:
    writer = csv.writer(f)
    writer.writerow(columns)
    writer.writerows(zip(*(results[c] for c in columns)))
print("best", search.best_params_, f"score {search.best_score_:.4f}")
print(f"refit took {search.refit_time_:.4f} seconds")
