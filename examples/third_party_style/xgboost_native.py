"""XGBoost's own interface, subsampling, saved in each of its formats."""

import numpy as np
import xgboost as xgb
from sklearn.datasets import load_diabetes

X, y = load_diabetes(return_X_y=True)
mask = np.random.rand(len(X)) < 0.8
train, test = xgb.DMatrix(X[mask], y[mask]), xgb.DMatrix(X[~mask], y[~mask])
params = {"max_depth": 4, "eta": 0.1, "subsample": 0.6, "colsample_bynode": 0.5, "tree_method": "hist"}
history = {}
booster = xgb.train(params, train, 60, evals=[(test, "test")], evals_result=history, verbose_eval=20)
booster.save_model("model.json")
booster.save_model("model.ubj")
booster.dump_model("dump.txt", with_stats=True)
print("final rmse", history["test"]["rmse"][-1])
