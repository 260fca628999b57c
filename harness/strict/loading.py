"""torch's DataLoader gives the same batches with any number of workers, though datasets draw from global generators.

torch seeds each worker, so which random numbers an item gets depends on which worker draws it, and with no workers
items draw from the program's own sequence (pytorch#5059, Lightning#20679). Here:

- an epoch's key is one draw of torch's generator (or of the loader's own) as the epoch begins, with any number of
  workers, persistent or not: what seeds the program, or restores its state, decides the epoch;
- an item is drawn under states that follow from (key, index, how often the index came before in the epoch);
- the order is drawn under states of the key, ahead of the program or not, and so is what `collate_fn` draws;
- the program's own states are left as they were, so that dropout does not depend on the number of workers either.

The main process tags each batch of indices with its key; fetchers, in workers or not, read the tag. A tag is a plain
tuple, because a worker that is spawned may know no module called `harness`.

Standard library only.
"""

import json
import operator
import sys
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from contextlib import suppress
from functools import partial
from typing import Any

from harness.strict.replacing import replace
from harness.strict.states import SetAside, derive, put, take

OPT_OUT = "harness_own_randomness"
"""A dataset that has this attribute, and true, is loaded as torch does it."""

_TAG = "harness.batch/1"
_SEEDING = {"seed", "manual_seed", "seed_all", "seed_everything", "set_seed"}
_NOT_YET = object()


def make_loaders_repeat(dataloader: Any) -> None:
    """Do all this, given the module `torch.utils.data.dataloader`; where it is not as known, say so and do nothing."""
    base, fetch = dataloader._BaseDataLoaderIter, dataloader._utils.fetch
    known = {
        base: ("__init__", "_reset", "_next_index"),
        fetch._MapDatasetFetcher: ("fetch",),
        fetch._IterableDatasetFetcher: ("__init__", "fetch"),
    }
    missing = [name for kind, names in known.items() for name in names if name not in vars(kind)]
    if missing:
        _say(f"this torch's DataLoader has no {missing[0]}: batches may depend on the number of workers")
        return
    loaders = _Loaders(dataloader)
    _replace_iterators(base, loaders)
    _replace_fetchers(fetch, loaders)


class _Epoch:
    """One pass over the indices: each next one with its tag; the first is drawn at once, as workers would."""

    def __init__(self, loaders: "_Loaders", indices: Any, key: int, *, batched: bool, counted: bool) -> None:
        self._key, self._batched = key, batched
        self._position = 0
        self._seen: Counter[Any] | None = Counter() if counted and loaders.may_repeat(indices) else None
        self._quiet = loaders.draws_at_first_alone(indices)
        with SetAside():
            derive(f"order|{key}")
            self._iterator = iter(indices)
            self._first = list(_up_to_one(self._iterator))
            self._states = take()

    def __next__(self) -> tuple[Any, ...]:
        index = self._first.pop() if self._first else self._drawn()
        first = self._position
        if not self._batched:
            self._position += 1
            return _TAG, self._key, first, self._times([index]), index
        if not hasattr(index, "__len__"):
            index = list(index)
        self._position += len(index)
        return _TAG, self._key, first, self._times(index), index

    def _drawn(self) -> Any:
        if self._quiet:
            return next(self._iterator)
        with SetAside():
            put(self._states)
            try:
                return next(self._iterator)
            finally:
                self._states = take()

    def _times(self, indices: Sequence[Any]) -> list[int] | None:
        """How often each index came before, null where none can have."""
        if self._seen is None:
            return None
        times = []
        for index in indices:
            name = index if type(index) is int else _name(index)
            times.append(self._seen[name])
            self._seen[name] += 1
        return times


def _up_to_one(iterator: Iterator[Any]) -> Iterator[Any]:
    with suppress(StopIteration):
        yield next(iterator)


class _Order:
    """Stands where torch keeps the sampler: it has its length, and torch's own pass over it is empty."""

    def __init__(self, sampler: Any) -> None:
        self.sampler = sampler

    def __len__(self) -> int:
        return len(self.sampler)

    def __iter__(self) -> Iterator[Any]:
        return iter(())


class _Loaders:
    """What is known of torch's own classes, which draw nothing or draw only as they begin."""

    def __init__(self, module: Any) -> None:
        data, sampler = module._utils.fetch, sys.modules["torch.utils.data.sampler"]
        dataset = sys.modules["torch.utils.data.dataset"]
        self.torch = sys.modules["torch"]
        self.fetch = data
        self.iterable = module._DatasetKind.Iterable
        self.worker = module._utils.worker.get_worker_info
        self.subset, self.concat, self.tensors = dataset.Subset, dataset.ConcatDataset, dataset.TensorDataset
        self.batches, self.random = sampler.BatchSampler, sampler.RandomSampler
        self.samplers = {sampler.SequentialSampler, sampler.SubsetRandomSampler, sampler.WeightedRandomSampler,
                         self.random}  # fmt: skip
        self.unique = {sampler.SequentialSampler}
        self.collates = (module._utils.collate.default_collate, module._utils.collate.default_convert)
        self._told: set[Any] = set()

    def draws_at_first_alone(self, indices: Any) -> bool:
        """Whether the global generators are asked for the first index at most."""
        if type(indices) is self.batches:
            return self.draws_at_first_alone(indices.sampler)
        return type(indices) in self.samplers

    def may_repeat(self, indices: Any) -> bool:
        """Whether an index may come twice in an epoch."""
        if type(indices) is self.batches:
            return self.may_repeat(indices.sampler)
        if type(indices) is self.random:
            return bool(indices.replacement) or indices.num_samples > len(indices.data_source)
        return type(indices) not in self.unique

    def draws_nothing(self, dataset: Any, collate: Any) -> bool:
        """Whether items and batches are known to draw no random number, so that no state need be set for them."""
        return collate in self.collates and self._is_plain(dataset)

    def _is_plain(self, dataset: Any) -> bool:
        kind = type(dataset)
        if kind is self.subset:
            return self._is_plain(dataset.dataset)
        if kind is self.concat:
            return all(map(self._is_plain, dataset.datasets))
        return kind is self.tensors or kind in (list, tuple, range, self.torch.Tensor)

    def by_item(self, dataset: Any) -> bool:
        """Whether items are asked for one by one; a Subset's own `__getitems__` does no more than that."""
        own = getattr(dataset, "__getitems__", None)
        if own is None or type(dataset) is not self.subset:
            return not own
        return self.by_item(dataset.dataset)

    def begin(self, loader: Any) -> int:
        """An epoch's key: one draw, as torch's own for its workers."""
        if "numpy" in sys.modules:
            import numpy.random  # noqa: F401 - seeded on import, so that no item's draw is the first to load it
        number = self.torch.empty((), dtype=self.torch.int64).random_(generator=loader.generator)
        return int(number.item())

    def tell(self, loader: Any) -> None:
        """Say once what of a loader's own settings has no effect."""
        if loader.num_workers and not getattr(loader, "in_order", True):
            _say("torch.utils.data.DataLoader's in_order stays True, not False")
            loader.in_order = True
        start = loader.worker_init_fn
        while isinstance(start, partial):
            start = start.func
        names = set(getattr(getattr(start, "__code__", None), "co_names", ()))
        if loader.num_workers and names & _SEEDING and start not in self._told:
            self._told.add(start)
            _say(f"what {start.__qualname__} seeds in workers has no effect: each item is drawn under its own seed")

    def leaves_alone(self, dataset: Any) -> bool:
        """Whether the dataset asks to be left as torch loads it."""
        if not getattr(dataset, OPT_OUT, False):
            return False
        name = type(dataset).__qualname__
        if name not in self._told:
            self._told.add(name)
            _say(f"{name}.{OPT_OUT} is set: its items depend on the number of workers")
        return True


def _replace_iterators(base: Any, loaders: _Loaders) -> None:
    original, reset, following = base.__init__, base._reset, base._next_index

    def start(self: Any, loader: Any) -> None:
        self._harness_key = self._harness_epoch = None
        if loaders.leaves_alone(loader.dataset):
            original(self, loader)
            return
        loaders.tell(loader)
        self._harness_key = loaders.begin(loader)
        with SetAside(loader.generator):
            derive(f"loader|{self._harness_key}")
            original(self, loader)
        self._base_seed = self._harness_key
        begin(self)

    def again(self: Any, loader: Any, first_iter: bool = False) -> None:
        if self._harness_key is None:
            reset(self, loader, first_iter)
            return
        if not first_iter:
            self._harness_key = loaders.begin(loader)
        with SetAside(loader.generator):
            derive(f"loader|{self._harness_key}")
            reset(self, loader, first_iter)
        if not first_iter:
            begin(self)

    def begin(self: Any) -> None:
        self._harness_epoch = _Epoch(
            loaders,
            self.__dict__["_index_sampler"],
            self._harness_key,
            batched=self._auto_collation,
            counted=self._dataset_kind != loaders.iterable,
        )

    def next_index(self: Any) -> Any:
        return following(self) if self._harness_epoch is None else next(self._harness_epoch)

    def sampler(self: Any) -> Any:
        own = self.__dict__["_index_sampler"]
        return own if self._harness_key is None else _Order(own)

    for name, call in (("__init__", start), ("_reset", again), ("_next_index", next_index)):
        replace(base, name, call)
    base._index_sampler = property(sampler, lambda self, value: self.__dict__.update(_index_sampler=value))


def _replace_fetchers(fetch: Any, loaders: _Loaders) -> None:
    mapped, iterated = fetch._MapDatasetFetcher, fetch._IterableDatasetFetcher
    fetch_items, fetch_next = mapped.fetch, iterated.fetch

    def items(self: Any, index: Any) -> Any:
        if not _is_tagged(index):
            return fetch_items(self, index)
        if loaders.draws_nothing(self.dataset, self.collate_fn):
            return fetch_items(self, index[-1])
        return _apart(loaders, partial(_drawn_items, loaders, self, *index[1:]))

    def start(self: Any, dataset: Any, *arguments: Any) -> None:
        super(iterated, self).__init__(dataset, *arguments)
        self.dataset_iter, self.ended = _NOT_YET, False
        self._harness_states = None

    def following(self: Any, index: Any) -> Any:
        tagged = _is_tagged(index)
        batch = index[-1] if tagged else index

        def draw() -> Any:
            if tagged and self._harness_states is not None:
                put(self._harness_states)
            elif tagged:
                info = loaders.worker()
                derive(f"iterable|{index[1]}|{0 if info is None else info.id}")
            try:
                if self.dataset_iter is _NOT_YET:
                    self.dataset_iter = iter(self.dataset)
                return fetch_next(self, batch)
            finally:
                self._harness_states = take()

        return _apart(loaders, draw) if tagged else draw()

    replace(mapped, "fetch", items)
    replace(iterated, "__init__", start)
    replace(iterated, "fetch", following)


def _is_tagged(index: Any) -> bool:
    return type(index) is tuple and len(index) == 5 and type(index[0]) is str and index[0] == _TAG


def _apart(loaders: _Loaders, draw: Callable[[], Any]) -> Any:
    """Draw under states of its own, and on one of torch's threads, as in a worker."""
    if loaders.worker() is not None:
        return draw()
    set_threads = loaders.torch._C.set_num_threads
    threads = loaders.torch.get_num_threads()
    with SetAside():
        if threads == 1:
            return draw()
        set_threads(1)
        try:
            return draw()
        finally:
            set_threads(threads)


def _drawn_items(loaders: _Loaders, fetcher: Any, key: int, first: int, times: list[int] | None, index: Any) -> Any:
    dataset = fetcher.dataset
    if not fetcher.auto_collation:
        _derive("item", key, first, 0 if times is None else times[0], index)
        data = dataset[index]
    elif loaders.by_item(dataset):
        data = []
        for place, one in enumerate(index):
            _derive("item", key, first + place, 0 if times is None else times[place], one)
            data.append(dataset[one])
    else:
        _derive("items", key, first, times, index)
        data = dataset.__getitems__(index)
    if fetcher.collate_fn not in loaders.collates:
        _derive("batch", key, first, times, index)
    return fetcher.collate_fn(data)


def _derive(what: str, key: int, position: int, times: Any, index: Any) -> None:
    """Set the states for an item or a batch by its name, for what has none by its position in the epoch."""
    name = index if type(index) is int else _name(index)
    derive(f"{what}|{key}|{times}|{name}" if name is not None else f"{what}|{key}|at {position}")


def _name(index: Any) -> str | None:
    """An index in words that no other index has, null for what has none (an object that prints its address)."""
    try:
        return json.dumps(index, default=_plain, sort_keys=True)
    except (TypeError, ValueError):
        return None


def _plain(value: Any) -> Any:
    try:
        return operator.index(value)
    except (TypeError, ValueError, RuntimeError):
        if hasattr(value, "tolist"):
            return value.tolist()
        raise TypeError(type(value).__name__) from None


def _say(message: str) -> None:
    sys.stderr.write(f"harness: strict: {message}\n")
