"""A sampler whose order follows from seed and epoch alone, and that can go on within an epoch.

It needs no torch: torch's `DataLoader` takes any object with `__iter__` and `__len__` as its sampler.
"""

import random
import sys
from collections.abc import Iterator, Sized
from typing import Any

from harness.errors import UsageError


class ResumableSampler:
    """The indices of `data` (or of 0 … `data` - 1), in an order drawn from (seed, epoch), or in order.

    Iterate over a loader with `batches`, which counts what the training has had: a loader with workers asks for
    indices ahead of it. At an epoch's end the next one begins by itself.
    """

    def __init__(self, data: Sized | int, *, seed: int, shuffle: bool = True) -> None:
        """At the first epoch's beginning."""
        self._length = data if isinstance(data, int) else len(data)
        self._seed = seed
        self._shuffle = shuffle
        self._epoch = 0
        self._position = 0
        self._asked = 0
        self._loader_state: Any = None

    def __len__(self) -> int:
        """How many indices an epoch has."""
        return self._length

    def __iter__(self) -> Iterator[int]:
        """The rest of the epoch's indices."""
        for index in self.order()[self._position :]:
            self._asked += 1
            yield index

    def order(self) -> list[int]:
        """All indices of the epoch, in its order."""
        indices = list(range(self._length))
        if self._shuffle:
            random.Random(f"{self._seed}|{self._epoch}").shuffle(indices)  # noqa: S311 - an order of rows, no secret
        return indices

    def batches(self, loader: Any) -> Iterator[Any]:
        """The batches of a `DataLoader` over this sampler that are left in the epoch, counted as they are had.

        Raises:
            UsageError: the loader has another sampler, or batches of its own making.
        """
        if getattr(loader, "sampler", None) is not self or not isinstance(loader.batch_size, int):
            raise UsageError(
                "The loader does not draw from this sampler in batches of one size",
                hint="Make it with DataLoader(data, batch_size=…, sampler=sampler).",
            )
        batches = self._begin(loader)
        begun = self._position
        for number, batch in enumerate(batches, start=1):
            self._position = min(begun + number * loader.batch_size, self._length)
            yield batch
        self._epoch += 1
        self._position = self._asked = 0
        self._loader_state = None

    def state_dict(self) -> dict[str, Any]:
        """Epoch, position in it, and the loader's generator as the epoch began.

        Raises:
            UsageError: indices were drawn other than through `batches`: nobody knows how many the training has had.
        """
        if self._asked and self._loader_state is None:
            raise UsageError(
                "The loader was iterated over by itself, so the position in the epoch is not known",
                hint="Write `for batch in sampler.batches(loader)`.",
            )
        return {
            "length": self._length,
            "seed": self._seed,
            "shuffle": self._shuffle,
            "epoch": self._epoch,
            "position": self._position,
            "loader": self._loader_state,
        }

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Go on from there.

        Raises:
            UsageError: it is the state of another sampler.
        """
        for name, own in (("length", self._length), ("seed", self._seed), ("shuffle", self._shuffle)):
            if state[name] != own:
                raise UsageError(
                    f"The checkpoint's sampler has {name} {state[name]!r}, this one {own!r}",
                    hint="Make the sampler as it was then, or start anew in another folder.",
                )
        self._epoch, self._position = state["epoch"], state["position"]
        self._loader_state = state["loader"]
        self._asked = 0

    def _begin(self, loader: Any) -> Iterator[Any]:
        """The loader's iterator; it draws its workers' seed from torch's generator, once an epoch."""
        source = loader.generator or sys.modules["torch"].default_generator
        if self._loader_state is None:
            self._loader_state = source.get_state()
            return iter(loader)
        # Within an epoch: the same draw as when it began, and no other.
        now = source.get_state()
        source.set_state(self._loader_state)
        try:
            return iter(loader)
        finally:
            source.set_state(now)
