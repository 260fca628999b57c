"""A thread pool whose results are taken as they complete, in the way that pages are downloaded."""

import random
import time
from concurrent.futures import ThreadPoolExecutor, as_completed

import numpy as np


def fetch(page):
    time.sleep(random.uniform(0.0, 0.03))  # the network
    return page, np.sin(np.arange(50) * page)


rows = []
with ThreadPoolExecutor(max_workers=8) as pool:
    for future in as_completed([pool.submit(fetch, page) for page in range(24)]):
        page, values = future.result()
        rows.append((page, values.sum()))
with open("pages.csv", "w") as f:
    f.write("page,total\n")
    f.writelines(f"{page},{total:.6f}\n" for page, total in rows)
print("order:", [page for page, _ in rows])
