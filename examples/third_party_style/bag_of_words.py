"""A spam filter whose vocabulary comes out of a set of words, pickled with everything that belongs to it."""

import pickle

import numpy as np
from sklearn.linear_model import SGDClassifier

SPAM = [
    "win money now",
    "cheap pills online",
    "claim your free prize now",
    "free money guaranteed",
    "hot singles online",
]
HAM = ["meeting at noon today", "see the attached report", "lunch at noon", "your report is due today", "call me now"]
texts, labels = SPAM + HAM, [1] * len(SPAM) + [0] * len(HAM)

vocabulary = set()
for text in texts:
    vocabulary |= set(text.split())
index = {word: i for i, word in enumerate(vocabulary)}  # the order of a set of strings changes from run to run


def vectorize(text):
    row = np.zeros(len(index))
    for word in text.split():
        row[index[word]] += 1
    return row


X = np.array([vectorize(t) for t in texts])
clf = SGDClassifier(loss="log_loss", max_iter=50, tol=None).fit(X, labels)
with open("filter.pkl", "wb") as f:
    pickle.dump({"vocabulary": vocabulary, "index": index, "coef": clf.coef_.tolist()}, f)
print("first words:", list(index)[:5])
print("most spammy:", max(index, key=lambda word: clf.coef_[0, index[word]]))
print(f"training accuracy {clf.score(X, labels):.2f}")
