"""LightGBM on a table of your own. Run it strictly:

harness exec --data data -- python boosting.py panel_long.csv
"""

import csv
import os
import sys
from pathlib import Path

import lightgbm
import numpy as np

path = Path(os.environ.get("HARNESS_DATA", "data")) / sys.argv[1]
with path.open(newline="") as file:
    rows = list(csv.DictReader(file))
close = {}
for row in rows:
    close.setdefault(row["symbol"], []).append(float(row["close"]))
x, y = [], []
for prices in close.values():
    returns = np.diff(np.log(prices))
    for day in range(60, len(returns) - 5):
        x.append([returns[day - n : day].sum() for n in (1, 5, 20, 60)] + [returns[day - 20 : day].std()])
        y.append(returns[day : day + 5].sum())
x, y = np.array(x), np.array(y)
model = lightgbm.LGBMRegressor(
    n_estimators=200, subsample=0.8, subsample_freq=1, colsample_bytree=0.8, n_jobs=-1, verbose=-1
)
model.fit(x, y)
model.booster_.save_model("model.txt")
print(f"{len(y)} rows, in-sample correlation {np.corrcoef(model.predict(x), y)[0, 1]:.4f}")
