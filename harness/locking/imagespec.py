"""The image spec, `docker/NAME.yaml`: what goes into an image and how it is configured."""

import msgspec


class User(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """A line of the image's `/etc/passwd` and `/etc/group`."""

    name: str
    uid: int
    home: str


class Debian(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Packages by name; the lock holds their closure. `exclude` are globs of paths that a run never reads."""

    suite: str
    component: str
    architecture: str
    packages: tuple[str, ...]
    exclude: tuple[str, ...] = ()


class Python(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Requirements as a user writes them, the interpreter's version, and uv's name for the target platform."""

    version: str
    platform: str
    requirements: tuple[str, ...]
    exclude: tuple[str, ...] = ()


class ImageSpec(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """One image. `variant` (`cpu` or `cuda`) picks the variables of the image config from the table of variables.

    `links` are symbolic links (path to target), `files` small text files (path to content), `postinst` waives, by
    package, maintainer scripts whose work is declared here or not needed, each with its reason.
    """

    name: str
    variant: str
    debian: Debian
    python: Python
    users: tuple[User, ...] = ()
    links: dict[str, str] = {}
    files: dict[str, str] = {}
    postinst: dict[str, str] = {}
    large_wheel: int = 20_000_000
