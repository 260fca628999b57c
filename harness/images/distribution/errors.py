"""What ends a request to a registry early and is not yet an error that a person sees."""

TRANSIENT = (408, 425, 429, 500, 502, 503, 504)
"""The answers after which another try may help."""
ASK = "Is its address right, and is it a registry? Then ask whoever runs it: its log says more."
"""What to do about a registry's own failures."""
_MEANINGS = {
    429: "it has had too many requests (HTTP 429)",
    500: "it failed (HTTP 500)",
    503: "it is not available (HTTP 503)",
}


class Stopped(Exception):  # noqa: N818 - nothing is wrong: the caller gave up
    """What was going on was called off."""


class Transient(Exception):  # noqa: N818 - what is tried again
    """Something that may work in a moment. `wait` is how many seconds the registry asked for."""

    def __init__(self, reason: str, wait: float | None = None) -> None:
        super().__init__(reason)
        self.reason = reason
        self.wait = wait


def failed_with(status: int, wait: float | None = None) -> Transient:
    """What a transient answer means."""
    return Transient(_MEANINGS.get(status, f"HTTP {status}"), wait)
