"""XGBClassifier with early stopping; the model is called after its score and the time."""

import datetime
import os

import xgboost as xgb
from sklearn.datasets import load_wine
from sklearn.metrics import log_loss
from sklearn.model_selection import train_test_split

X, y = load_wine(return_X_y=True)
X_train, X_test, y_train, y_test = train_test_split(X, y, test_size=0.3, stratify=y)
clf = xgb.XGBClassifier(n_estimators=100, subsample=0.7, colsample_bytree=0.7, n_jobs=-1, early_stopping_rounds=10)
clf.fit(X_train, y_train, eval_set=[(X_test, y_test)], verbose=False)
loss = log_loss(y_test, clf.predict_proba(X_test))
os.makedirs("models", exist_ok=True)
path = f"models/xgb_{datetime.datetime.now():%Y%m%d_%H%M%S}_loss{loss:.4f}.json"
clf.save_model(path)
print(f"saved {path} (best iteration {clf.best_iteration})")
