"""Loaders of many kinds, for `test_loading.py`: `loaders.py WORKERS CONTEXT CASE…` prints what each gave, as JSON."""

import hashlib
import json
import random
import sys
from io import BytesIO

import numpy as np
import torch
from torch.utils.data import (
    BatchSampler,
    DataLoader,
    Dataset,
    IterableDataset,
    Sampler,
    SequentialSampler,
    Subset,
)


class Augmented(Dataset):
    """Draws from everything global, and from generators that nobody seeded."""

    def __len__(self):
        return 23

    def __getitem__(self, index):
        return torch.tensor(
            [float(index), random.random(), np.random.rand(), np.random.randn(), torch.rand(()).item(),
             random.Random().random(), np.random.default_rng().random()], dtype=torch.float64
        )  # fmt: skip


class InBatches(Augmented):
    def __getitems__(self, indices):
        return [self[index] + random.random() for index in indices]


class Named(Augmented):
    def __getitem__(self, name):
        return super().__getitem__(int(name[1]) if isinstance(name, tuple) else int(name))


class Failing(Augmented):
    def __getitem__(self, index):
        if index == 9 and torch.rand(()).item() >= 0:
            raise ValueError("item 9 is broken")
        return super().__getitem__(index)


class Opted(Augmented):
    harness_own_randomness = True


class Stream(IterableDataset):
    def __iter__(self):
        random.random()
        for index in range(10):
            yield super_item(index)


def super_item(index):
    return Augmented().__getitem__(index)


class Eager(Sampler):
    """Shuffles as it begins, with Python's global generator; counts how often it begins."""

    begun = 0

    def __len__(self):
        return 23

    def __iter__(self):
        Eager.begun += 1
        order = list(range(23))
        random.shuffle(order)
        return iter(order)


class Drawing(Sampler):
    """Draws as it goes, from NumPy's global generator, with repeats."""

    def __len__(self):
        return 30

    def __iter__(self):
        for _ in range(30):
            yield np.random.randint(23)


def mixed(items):
    return torch.stack(items) * random.random() + torch.rand(())


def seeding(worker):
    np.random.seed(worker)


def loader(case, workers, context=None):
    """A loader of that kind."""
    shared = {"num_workers": workers, "multiprocessing_context": context} if workers else {}
    if case == "persistent" and workers:
        shared["persistent_workers"] = True
    makers = {
        "plain": lambda: DataLoader(Augmented(), batch_size=4, shuffle=True, **shared),
        "persistent": lambda: DataLoader(Augmented(), batch_size=4, shuffle=True, **shared),
        "larger": lambda: DataLoader(Augmented(), batch_size=7, shuffle=True, drop_last=True, **shared),
        "subset": lambda: DataLoader(Subset(Subset(Augmented(), range(20)), range(3, 17)), batch_size=4, **shared),
        "in batches": lambda: DataLoader(InBatches(), batch_size=4, shuffle=True, **shared),
        "no batches": lambda: DataLoader(Augmented(), batch_size=None, shuffle=True, **shared),
        "batches as items": lambda: DataLoader(
            InLists(), batch_size=None, sampler=BatchSampler(SequentialSampler(Augmented()), 5, False), **shared
        ),
        "eager": lambda: DataLoader(Augmented(), batch_size=4, sampler=Eager(), **shared),
        "drawing": lambda: DataLoader(Augmented(), batch_size=4, sampler=Drawing(), **shared),
        "batch sampler": lambda: DataLoader(
            Augmented(), batch_sampler=BatchSampler(Drawing(), 6, drop_last=True), **shared
        ),
        "named": lambda: DataLoader(Named(), batch_size=2, sampler=[("a", 3), "7", np.int64(5), ("a", 3)], **shared),
        "collate": lambda: DataLoader(Augmented(), batch_size=4, shuffle=True, collate_fn=mixed, **shared),
        "worker_init_fn": lambda: DataLoader(Augmented(), batch_size=4, worker_init_fn=seeding, **shared),
        "generator": lambda: DataLoader(
            Augmented(), batch_size=4, shuffle=True, generator=torch.Generator().manual_seed(3), **shared
        ),
        "replacement": lambda: DataLoader(
            Augmented(), batch_size=4, sampler=torch.utils.data.RandomSampler(range(23), True, 90), **shared
        ),
        "weights": lambda: DataLoader(
            Augmented(), batch_size=4, sampler=torch.utils.data.WeightedRandomSampler([1.0] * 23, 40), **shared
        ),
        "prefetch": lambda: DataLoader(
            Augmented(), batch_size=2, sampler=Drawing(), **({**shared, "prefetch_factor": 7} if workers else {})
        ),
        "out of order": lambda: DataLoader(Augmented(), batch_size=1, in_order=False, **shared),
        "iterable": lambda: DataLoader(Stream(), batch_size=4, **shared),
        "failing": lambda: DataLoader(Failing(), batch_size=4, **shared),
        "opted out": lambda: DataLoader(Opted(), batch_size=4, **shared),
        "tensors": lambda: DataLoader(
            torch.utils.data.TensorDataset(torch.arange(23)), batch_size=4, shuffle=True, **shared
        ),
    }
    return makers[case]()


class InLists(Augmented):
    def __getitem__(self, indices):
        return torch.stack([super(InLists, self).__getitem__(index) for index in indices])


def digest(batch):
    data = BytesIO()
    for tensor in batch if isinstance(batch, list) else [batch]:
        data.write(np.ascontiguousarray(tensor).tobytes())
    return hashlib.sha256(data.getvalue()).hexdigest()[:12]


def run(case, workers, context=None):
    """The batches of two epochs, a line each, and what the program itself draws after them."""
    random.seed(1), np.random.seed(1), torch.manual_seed(1)
    Eager.begun = 0
    lines = []
    if case == "two at once":
        pairs = zip(loader("tensors", workers, context), loader("eager", workers, context), strict=False)
        lines += [[digest(one), digest(other), torch.rand(()).item(), random.random()] for (one,), other in pairs]
    else:
        loaded = loader(case, workers, context)
        for _ in range(2):
            lines.append([])
            try:
                for batch in loaded:
                    lines[-1].append(digest(batch))
                    torch.nn.functional.dropout(torch.ones(8))
                    random.random(), np.random.randn()
            except ValueError as error:
                lines[-1].append(str(error).splitlines()[-1].removeprefix("ValueError: "))
    own = [random.random(), np.random.randn(), torch.rand(()).item(), np.random.default_rng().random(), Eager.begun]
    return [*lines, own]


if __name__ == "__main__":
    workers, context = int(sys.argv[1]), sys.argv[2] or None
    sys.stdout.write(json.dumps({case: run(case, workers, context) for case in sys.argv[3:]}))
