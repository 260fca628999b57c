"""Cross-validation with the native LightGBM interface, and a model for each fold."""

import json
import time

import lightgbm as lgb
import numpy as np
from sklearn.datasets import load_breast_cancer
from sklearn.model_selection import StratifiedKFold

X, y = load_breast_cancer(return_X_y=True)
params = {"objective": "binary", "metric": "auc", "bagging_fraction": 0.8, "bagging_freq": 1, "verbosity": -1}
params["feature_fraction"] = 0.6
scores, start = [], time.time()
for fold, (train, valid) in enumerate(StratifiedKFold(3, shuffle=True).split(X, y)):
    data = lgb.Dataset(X[train], y[train])
    booster = lgb.train(params, data, num_boost_round=40)
    order = np.argsort(booster.predict(X[valid]))
    ranks = np.empty(len(order))
    ranks[order] = np.arange(len(order))
    positive = y[valid] == 1
    auc = (ranks[positive].mean() - (positive.sum() - 1) / 2) / (~positive).sum()
    scores.append(float(auc))
    booster.save_model(f"fold_{fold}.txt")
    print(f"fold {fold}: auc {auc:.5f}")
with open("cv.json", "w") as f:
    json.dump({"scores": scores, "mean": float(np.mean(scores)), "elapsed": time.time() - start}, f)
