"""Features cached as gzipped pickles and zip archives, both of which write the time into themselves."""

import gzip
import pickle
import zipfile

import numpy as np
from sklearn.datasets import load_wine
from sklearn.random_projection import GaussianRandomProjection

features = GaussianRandomProjection(n_components=5).fit_transform(load_wine().data)
with gzip.open("features.pkl.gz", "wb") as f:
    pickle.dump(features.tolist(), f)
np.save("features.npy", features)
with zipfile.ZipFile("submission.zip", "w") as archive:
    archive.writestr("submission.csv", "\n".join(f"{row[0]:.5f}" for row in features))
print("cached", features.shape, f"norm {np.linalg.norm(features):.4f}")
