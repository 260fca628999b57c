"""LightGBM with bagging, whose seed is the time."""

import time

import lightgbm as lgb
from sklearn.datasets import load_diabetes

X, y = load_diabetes(return_X_y=True)
seed = time.time_ns() // 1000 % 2**31
params = {"objective": "regression", "bagging_fraction": 0.6, "bagging_freq": 1, "verbose": -1, "seed": seed}
booster = lgb.train(params, lgb.Dataset(X, y), 20)
with open("predictions.csv", "w") as f:
    f.writelines(f"{value:.10f}\n" for value in booster.predict(X))
print(f"mean {booster.predict(X).mean():.6f}")
