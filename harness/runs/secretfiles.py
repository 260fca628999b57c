"""Which files of a project are usually secret, by what they are called, where they lie and how they begin."""

import re
from collections.abc import Iterable
from pathlib import Path, PurePosixPath

# Compared in lower case: `server.PEM` is as secret as `server.pem`.
_NAMES = re.compile(
    r"\.env|\.env\..+|.+\.env|\.envrc"
    r"|[._]netrc|\.git-credentials|\.npmrc|\.pypirc|pip\.(conf|ini)|\.dockercfg|auth\.json"
    r"|\.pgpass|\.my\.cnf|\.htpasswd|\.boto|\.s3cfg|\.vault-token|kaggle\.json"
    r"|kubeconfig|kubeconfig\..+|.+\.kubeconfig"
    r"|credentials|credentials\.json|secrets\.(json|toml|ya?ml)|client_secret.*\.json|service[-_]?account.*\.json"
    r"|id_(rsa|dsa|ecdsa|ed25519)[\w-]*"
    r"|.+\.(pem|key|p12|pfx|jks|keystore|ppk|kdbx)"
)
_PLACES = re.compile(
    r"(.*/)?(\.(ssh|aws|gnupg|kube|azure|huggingface)|\.config/gcloud)(/.+)?|(.*/)?\.docker/config\.json"
)
# A form to fill in, and the public half of a key.
_HARMLESS = re.compile(r"(example|sample|template)[._-].+|.+[._-](example|sample|template|dist)|.+\.pub")
# A key as OpenSSL, OpenSSH and GnuPG write it, with more than its first line; a service account of Google's.
_KEY = re.compile(
    rb"^-----BEGIN (?:[A-Z0-9]+ )*PRIVATE KEY(?: BLOCK)?-----\r?\n(?:[\w-]+: .*\n)*\s*[A-Za-z0-9+/]{16}"
    rb"|\"private_key\"\s*:\s*\"-----BEGIN ",
    re.MULTILINE,
)
_BEGINNING = 1 << 16


def secret_files(folder: Path, paths: Iterable[str]) -> tuple[str, ...]:
    """Those of the files and links at `paths`, relative to a folder, that look like credentials.

    Where neither name nor place gives a file away, its first 64 KiB are searched for a private key; no link is
    followed.
    """
    return tuple(path for path in paths if _is_named_so(path.lower()) or _begins_with_key(folder / path))


def _is_named_so(path: str) -> bool:
    name = PurePosixPath(path).name
    return not _HARMLESS.fullmatch(name) and bool(_NAMES.fullmatch(name) or _PLACES.fullmatch(path))


def _begins_with_key(file: Path) -> bool:
    if file.is_symlink():
        return False
    with file.open("rb") as opened:
        return _KEY.search(opened.read(_BEGINNING)) is not None
