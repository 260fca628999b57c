"""A report that says when it was made, in a folder called after the time, with a log beside it."""

import json
import logging
import os
import time
from datetime import datetime, timezone

from sklearn.datasets import load_wine
from sklearn.ensemble import GradientBoostingClassifier
from sklearn.model_selection import cross_validate

folder = os.path.join("reports", time.strftime("%Y-%m-%d_%H-%M-%S"))
os.makedirs(folder)
logging.basicConfig(
    filename=os.path.join(folder, "train.log"), level=logging.INFO, format="%(asctime)s %(levelname)s %(message)s"
)
started = time.time()
logging.info("loading")
X, y = load_wine(return_X_y=True)
scores = cross_validate(GradientBoostingClassifier(n_estimators=20, subsample=0.8), X, y, cv=3)
logging.info("accuracy %.4f", scores["test_score"].mean())
report = {
    "created_at": datetime.now(timezone.utc).isoformat(),
    "timestamp": started,
    "duration": time.time() - started,
    "fit_time": scores["fit_time"].tolist(),
    "accuracy": scores["test_score"].tolist(),
}
with open(os.path.join(folder, "report.json"), "w") as f:
    json.dump(report, f, indent=2)
print(time.ctime(), "accuracy", round(scores["test_score"].mean(), 4))
