"""Clustering with k-means++ starts that nobody fixed."""

import numpy as np
from sklearn.cluster import KMeans, MiniBatchKMeans
from sklearn.datasets import make_blobs
from sklearn.decomposition import PCA
from sklearn.metrics import silhouette_score

X, _ = make_blobs(n_samples=1500, centers=6, n_features=8, cluster_std=2.5)
X = PCA(n_components=4, svd_solver="randomized").fit_transform(X)
for name, model in (("kmeans", KMeans(6, n_init=3)), ("minibatch", MiniBatchKMeans(6, n_init=3, batch_size=256))):
    labels = model.fit_predict(X)
    print(f"{name:10s} inertia {model.inertia_:.3f}  silhouette {silhouette_score(X, labels):.4f}")
    np.savez_compressed(f"{name}.npz", centers=model.cluster_centers_, labels=labels)
