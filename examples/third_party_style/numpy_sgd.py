"""Linear regression by stochastic gradient descent in plain NumPy, with the legacy global generator."""

import numpy as np
from sklearn.datasets import load_diabetes

X, y = load_diabetes(return_X_y=True)
X = np.c_[np.ones(len(X)), X / X.std(axis=0)]
y = (y - y.mean()) / y.std()

order = np.random.permutation(len(X))
train, test = order[:350], order[350:]
weights = np.random.randn(X.shape[1]) * 0.1
for epoch in range(20):
    np.random.shuffle(train)
    for start in range(0, len(train), 16):
        batch = train[start : start + 16]
        gradient = X[batch].T @ (X[batch] @ weights - y[batch]) / len(batch)
        weights -= 0.05 * gradient
    if epoch % 5 == 4:
        print(f"epoch {epoch + 1:3d}  mse {np.mean((X[test] @ weights - y[test]) ** 2):.4f}")

np.save("weights.npy", weights)
np.savetxt("predictions.csv", X[test] @ weights, header="prediction", comments="")
