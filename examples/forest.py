"""Numbers without a single seed in them: NumPy, scikit-learn, all cores asked for. Run it strictly:

harness exec -- python forest.py
"""

import json
from pathlib import Path

import numpy as np
from sklearn.datasets import load_diabetes
from sklearn.ensemble import RandomForestRegressor
from sklearn.model_selection import cross_val_score, train_test_split

x, y = load_diabetes(return_X_y=True)
x_train, x_test, y_train, y_test = train_test_split(x, y, test_size=0.25)
model = RandomForestRegressor(n_estimators=100, n_jobs=-1).fit(x_train, y_train)
predictions = model.predict(x_test)
bootstrap = [np.mean(np.random.default_rng().choice(predictions, len(predictions))) for _ in range(200)]
scores = {
    "r2": model.score(x_test, y_test),
    "cross_validated_r2": cross_val_score(model, x, y, cv=3).mean(),
    "mean_prediction_90_percent": list(np.quantile(bootstrap, [0.05, 0.95])),
}
np.save("predictions.npy", predictions)
Path("scores.json").write_text(json.dumps(scores, indent=2))
print(f"R² {scores['r2']:.4f}")
