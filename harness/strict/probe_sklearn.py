"""The probe of scikit-learn: one small fit of each kind of arithmetic that it does with code of its own."""

import warnings
from collections.abc import Iterator
from typing import Any

import numpy as np
from sklearn.cluster import KMeans
from sklearn.ensemble import RandomForestRegressor
from sklearn.linear_model import Lasso, LogisticRegression
from sklearn.metrics.pairwise import euclidean_distances
from sklearn.preprocessing import QuantileTransformer, StandardScaler
from sklearn.tree import DecisionTreeRegressor

_SEED = 1


def kernels(features: Any, target: Any, labels: Any) -> Iterator[tuple[str, bytes]]:
    """Each kernel's name and result, for `features` (rows, columns), `target` (rows,), both float64, and bool `labels`.

    Everything is done by one worker; threads are those that the process was given.
    """
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # that a fit was stopped early is meant
        tree = DecisionTreeRegressor(max_depth=5, random_state=_SEED).fit(features, target)
        yield "tree", tree.tree_.threshold.tobytes() + tree.predict(features).tobytes()
        forest = RandomForestRegressor(4, max_depth=4, n_jobs=1, random_state=_SEED).fit(features, target)
        yield "forest", forest.predict(features).tobytes()
        logistic = LogisticRegression(max_iter=30, random_state=_SEED).fit(features, labels)
        yield "logistic", logistic.coef_.tobytes() + logistic.intercept_.tobytes()
        lasso = Lasso(alpha=0.01, max_iter=50, random_state=_SEED).fit(features, target)
        yield "lasso", lasso.coef_.tobytes() + np.float64(lasso.intercept_).tobytes()
        means = KMeans(4, n_init=1, max_iter=10, random_state=_SEED).fit(features)
        yield "kmeans", means.cluster_centers_.tobytes() + means.labels_.tobytes()
        yield "scaler", StandardScaler().fit_transform(features).tobytes()
        yield "quantiles", QuantileTransformer(n_quantiles=64, random_state=_SEED).fit_transform(features).tobytes()
        yield "distances", euclidean_distances(features[:64], features[64:128]).tobytes()
