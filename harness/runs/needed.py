"""What the store is needed for: the checkouts that use it, with their locks and baselines, and what was kept.

A document needs every sha256 that stands in it. So nothing has to be known of a lock's form, another version's and
another tool's locks count too, and what cannot be understood keeps too much rather than too little.
"""

from pathlib import Path

import msgspec

from harness.errors import UsageError
from harness.runs.bytecode import kept_bytecode
from harness.runs.keeping import pins
from harness.spec.digest import digest_from_hex, hexadecimal
from harness.store.roots import Checkout, digests_of, noted_checkouts
from harness.store.store import Store


class Needed(msgspec.Struct, frozen=True, kw_only=True):
    """What is needed, as digests in hexadecimal, and by whom: checkouts and the names of what was kept.

    `vanished` are the checkouts that are not there; those of them that are `protected` need what they last named.
    """

    digests: frozenset[str]
    checkouts: tuple[Path, ...]
    kept: tuple[str, ...]
    vanished: tuple[Checkout, ...]


def find_needed(store: Store) -> Needed:
    """What the store's users need.

    Raises:
        UsageError: a checkout's document cannot be read, or a checkout is not there and what it needs was not noted,
            so that this is not known.
        HarnessError: likewise, with what was kept.
    """
    notes = noted_checkouts(store)
    checkouts = tuple(sorted({each.root for each in notes if each.present}))
    vanished = tuple(each for each in notes if not each.present)
    digests: set[str] = set()
    for root in checkouts:
        digests |= digests_of(root)
    noted = {each.root for each in notes if each.host is not None}
    for each in vanished:
        if each.protected and each.digests is None and not (each.host is None and each.root in noted):
            raise UsageError(
                f"The checkout {each.root} is not there, and what it needs of the store was not noted",
                hint=f"Nothing was removed. Mount it, or let it go: harness store gc --forget {each.root}",
            )
        if each.protected and each.digests is not None:
            digests |= each.digests
    kept = pins(store)
    digests |= {hexadecimal(digest) for pin in kept for digest in pin.digests}
    digests |= {hexadecimal(tree) for tree in kept_bytecode(store, map(digest_from_hex, sorted(digests)))}
    return Needed(
        digests=frozenset(digests), checkouts=checkouts, kept=tuple(pin.title for pin in kept), vanished=vanished
    )
