"""LightGBM with bagging, early stopping and all cores; no seed parameter anywhere."""

import csv

import lightgbm as lgb
import numpy as np
from sklearn.datasets import make_regression
from sklearn.model_selection import train_test_split

X, y = make_regression(n_samples=3000, n_features=20, n_informative=8, noise=20.0)
y = np.sign(y) * np.abs(y) ** 1.5
X_train, X_valid, y_train, y_valid = train_test_split(X, y)
model = lgb.LGBMRegressor(
    n_estimators=300, learning_rate=0.1, subsample=0.7, subsample_freq=1, colsample_bytree=0.7, n_jobs=-1, verbose=-1
)
model.fit(
    X_train,
    y_train,
    eval_set=[(X_valid, y_valid)],
    callbacks=[lgb.early_stopping(10, verbose=False), lgb.log_evaluation(0)],
)
print(f"best iteration {model.best_iteration_}, valid l2 {model.best_score_['valid_0']['l2']:.5f}")
model.booster_.save_model("model.txt")
with open("importance.csv", "w", newline="") as f:
    csv.writer(f).writerows(zip(model.feature_name_, model.feature_importances_))
