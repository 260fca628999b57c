"""Boosting with a seed and one thread, on data made with a seed."""

import numpy as np
import xgboost as xgb

rng = np.random.default_rng(7)
X = rng.normal(size=(500, 8))
y = X[:, 0] * X[:, 1] + 0.1 * rng.normal(size=500)
model = xgb.XGBRegressor(n_estimators=30, max_depth=3, subsample=0.8, random_state=7, n_jobs=1)
model.fit(X[:400], y[:400])
prediction = model.predict(X[400:])
np.savetxt("prediction.txt", prediction, fmt="%.8g")
model.save_model("seeded.json")
print(f"rmse {np.sqrt(np.mean((prediction - y[400:]) ** 2)):.6f}")
