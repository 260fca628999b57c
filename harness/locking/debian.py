"""`debian.lock`: the Debian packages of an image, each with the place and digest of its file. No host names."""

from itertools import count
from pathlib import Path
from typing import Annotated, Literal, get_args

import msgspec

from harness.errors import IntegrityError
from harness.locking.imagespec import ImageSpec
from harness.locking.lockfile import read_lock
from harness.spec.digest import Digest

SCHEMA = "harness.debian-lock/2"
FIRST_SYSTEM_ID = 100
NOBODY_GROUP = 65534

ScriptName = Literal["config", "preinst", "postinst", "prerm", "postrm", "triggers"]
SCRIPTS: tuple[ScriptName, ...] = get_args(ScriptName)
"""What a package may bring to be run when it is installed or removed, in the order in which a lock has them."""

_ARCHITECTURES = ("all", "amd64", "arm64", "armel", "armhf", "i386", "mips64el", "ppc64el", "riscv64", "s390x")

_SEGMENT = r"[A-Za-z0-9+~_%][A-Za-z0-9.+~_%-]*"
_PLACE = r"^(/[A-Za-z0-9._+@-]+)+\Z"
_ACCOUNT = r"^[a-z_][a-z0-9_-]{0,31}\Z"

Place = Annotated[str, msgspec.Meta(pattern=_PLACE)]
Account = Annotated[str, msgspec.Meta(pattern=_ACCOUNT)]


class Alternative(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """`place` becomes a link to `target`, unless another package has an alternative of higher `priority` there."""

    place: Place
    target: Place
    priority: int


class Link(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """`place` becomes a link to `target`, which may be relative to it, if nothing is there."""

    place: Place
    target: Annotated[str, msgspec.Meta(pattern=r"^/?[A-Za-z0-9._+@-]+(/[A-Za-z0-9._+@-]+)*/?\Z")]


class SystemUser(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """A line of `/etc/passwd`. `group` of the same name is made with it; `nogroup` is 65534."""

    name: Account
    group: Account
    home: Place


class SystemGroup(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """A line of `/etc/group`."""

    name: Account


class Folder(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """A folder that is there after installation; `mode` is octal (`0755`)."""

    place: Place
    mode: Annotated[str, msgspec.Meta(pattern=r"^[01][0-7]{3}\Z")]


Action = Alternative | Link | SystemUser | SystemGroup | Folder
"""What a maintainer script does that the build lays down in its stead."""


class MaintainerScript(msgspec.Struct, frozen=True, forbid_unknown_fields=True, omit_defaults=True):
    """A maintainer script as `harness.locking.scripts` read it when the lock was made; it is never run.

    `does` are the kinds of what it does on a fresh system, sorted; nothing if it changes nothing. `alternatives` to
    `folders` are what the build lays down in its stead. `unknown` are lines (`12: cp -p a b`) of which nobody can tell:
    such a script must be waived.
    """

    name: ScriptName
    digest: Digest
    does: tuple[str, ...] = ()
    alternatives: tuple[Alternative, ...] = ()
    links: tuple[Link, ...] = ()
    users: tuple[SystemUser, ...] = ()
    groups: tuple[SystemGroup, ...] = ()
    folders: tuple[Folder, ...] = ()
    unknown: tuple[str, ...] = ()


class DebianPackage(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """One package. `path` is its file's place below a mirror's base, `size` is bytes.

    `scripts` are its maintainer scripts; the harness runs none.
    """

    name: Annotated[str, msgspec.Meta(pattern=r"^[a-z0-9][a-z0-9+.-]+\Z")]
    version: Annotated[str, msgspec.Meta(pattern=r"^[0-9][A-Za-z0-9.+:~-]*\Z")]
    architecture: Annotated[str, msgspec.Meta(pattern=r"^[a-z0-9-]+\Z")]
    path: Annotated[str, msgspec.Meta(pattern=rf"^pool/({_SEGMENT}/)+{_SEGMENT}\.deb\Z")]
    size: Annotated[int, msgspec.Meta(ge=1)]
    digest: Digest
    scripts: tuple[MaintainerScript, ...]


class DebianLock(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """The closure of an image's packages, sorted by name.

    `snapshot` is the time (`YYYYMMDDTHHMMSSZ`) at which Debian's snapshot archive holds every file. `inputs` is the
    digest of what the spec asked for.
    """

    schema: str = SCHEMA
    inputs: Digest
    suite: str
    component: str
    architecture: str
    snapshot: Annotated[str, msgspec.Meta(pattern=r"^[0-9]{8}T[0-9]{6}Z\Z")]
    packages: tuple[DebianPackage, ...]


def read_debian_lock(path: Path) -> DebianLock:
    """The lock in the file `path`.

    Raises:
        UsageError: the file is not there or cannot be read.
        IntegrityError: it is not a valid lock, or holds a package or file twice.
    """
    lock = read_lock(path, DebianLock, schema=SCHEMA)
    names = [package.name for package in lock.packages]
    if names != sorted(set(names)):
        raise IntegrityError(f"{path}: the packages are not sorted by name, or one is there twice")
    if len({package.path for package in lock.packages}) != len(names):
        raise IntegrityError(f"{path}: two packages have the same file")
    if len({package.digest for package in lock.packages}) != len(names):
        raise IntegrityError(f"{path}: two packages have the same digest")
    for package in lock.packages:
        if package.architecture not in (lock.architecture, "all"):
            raise IntegrityError(f"{path}: {package.name} is for {package.architecture}, not {lock.architecture}")
        said = package.path.removesuffix(".deb").rpartition("_")[2]
        if said in _ARCHITECTURES and said != package.architecture:
            raise IntegrityError(f"{path}: the file of {package.name} is for {said}, not {package.architecture}")
        scripts = [script.name for script in package.scripts]
        if len(set(scripts)) != len(scripts):
            raise IntegrityError(f"{path}: {package.name} has a maintainer script twice")
    return lock


class MaintainerChange(msgspec.Struct, frozen=True):
    """A waived script that changed between two versions of its package; `before` is null where nobody can tell."""

    package: str
    script: str
    before: str | None
    after: str


class Effects(msgspec.Struct, frozen=True, kw_only=True):
    """What maintainer scripts leave in an image: links by place, lines of passwd and group by name, folders."""

    links: dict[str, str]
    passwd: dict[str, str]
    group: dict[str, str]
    folders: tuple[Folder, ...]


def effects(spec: ImageSpec, lock: DebianLock) -> Effects:
    """What the build lays down for the scripts that the spec does not waive.

    Of alternatives in one place the highest priority wins, then the package that is first by name. Accounts that the
    spec does not have itself are numbered from 100 in the lock's order, as on a system that is installed afresh.
    """
    actions = [
        action
        for package in lock.packages
        if package.name not in spec.postinst
        for script in package.scripts
        for action in (*script.alternatives, *script.links, *script.groups, *script.users, *script.folders)
    ]
    links: dict[str, Alternative | Link] = {}
    for action in actions:
        best = links.get(action.place) if isinstance(action, Alternative | Link) else None
        match action:
            case Alternative():
                better = not isinstance(best, Alternative) or action.priority > best.priority
                links[action.place] = action if better else links[action.place]
            case Link():
                links.setdefault(action.place, action)
    passwd, group = _accounts(spec, [action for action in actions if isinstance(action, SystemUser | SystemGroup)])
    folders = {action.place: action for action in actions if isinstance(action, Folder)}
    return Effects(
        links={place: links[place].target for place in sorted(links)},
        passwd=passwd,
        group=group,
        folders=tuple(folders[place] for place in sorted(folders)),
    )


def _accounts(spec: ImageSpec, actions: list[SystemUser | SystemGroup]) -> tuple[dict[str, str], dict[str, str]]:
    """The lines of `/etc/passwd` and `/etc/group` beside the spec's own, by name."""
    known = {user.name: user.uid for user in spec.users}
    numbers = dict(known)
    users: dict[str, SystemUser] = {}
    groups: dict[str, None] = {}
    for action in actions:
        numbers.setdefault(action.name, next(one for one in count(FIRST_SYSTEM_ID) if one not in numbers.values()))
        if isinstance(action, SystemUser):
            users.setdefault(action.name, action)
        if isinstance(action, SystemGroup) or action.group == action.name:
            groups.setdefault(action.name)
    group = {name: f"{name}:x:{numbers[name]}:" for name in groups if name not in known}
    passwd = {
        name: f"{name}:x:{numbers[name]}:{numbers.get(user.group, NOBODY_GROUP)}::{user.home}:/usr/sbin/nologin"
        for name, user in users.items()
        if name not in known
    }
    return passwd, group


def waiver_problems(spec: ImageSpec, lock: DebianLock) -> list[str]:
    """The maintainer scripts that are not known and that the spec does not waive, and waivers that waive nothing."""
    scripted = {package.name for package in lock.packages if any(map(_runs_at_installation, package.scripts))}
    missing = [
        f"the {script.name} of {package.name} is not waived, and its line {script.unknown[0]!r} is not known"
        for package in lock.packages
        for script in package.scripts
        if script.unknown and package.name not in spec.postinst
    ]
    idle = [f"postinst.{name} waives a script that is not there" for name in spec.postinst if name not in scripted]
    return missing + idle


def changed_waivers(spec: ImageSpec, before: DebianLock | None, after: DebianLock) -> list[MaintainerChange]:
    """The waived scripts that are not those that were read when the waiver was given.

    Where `before` is null, a lock is there but damaged: then nobody can tell which were read, and it is all of them.
    """
    old = {package.name: package for package in before.packages} if before else {}
    found = []
    for package in after.packages:
        was = old.get(package.name)
        if package.name not in spec.postinst or (before and was is None):
            continue
        digests = {script.name: script.digest for script in was.scripts} if was else {}
        found += [
            MaintainerChange(package.name, script.name, was.version if was else None, package.version)
            for script in package.scripts
            if _runs_at_installation(script) and digests.get(script.name) != script.digest
        ]
    return found


def _runs_at_installation(script: MaintainerScript) -> bool:
    return script.name in ("config", "preinst", "postinst") or bool(script.unknown)
