"""Prints, as JSON, what a program can see of the machine, the moment and its caller, in strict and bare Python."""

# What scripts call is what is looked at.
# ruff: noqa: PTH109, PTH116, PTH119, PTH207, PTH208, T201

import datetime
import gc
import getpass
import glob
import json
import locale
import os
import pathlib
import platform
import posix
import resource
import shutil
import socket
import sys
import tempfile
import threading
import time
import uuid

CHANGE = json.loads(pathlib.Path("change.json").read_text())


class Thing:
    """Something whose hash is its address."""


def listings() -> dict[str, list[str]]:
    """A folder in memory, whose raw order is that in which its files were made, listed in every way."""
    with tempfile.TemporaryDirectory(dir="/dev/shm") as folder:
        for name in CHANGE["names"]:
            pathlib.Path(folder, name).touch()
        with os.scandir(folder) as entries:
            scanned = [entry.name for entry in entries]
        return {
            "raw": posix.listdir(folder),
            "listdir": os.listdir(folder),
            "scandir": scanned,
            "walk": next(os.walk(folder))[2],
            "glob": [os.path.basename(path) for path in glob.glob(f"{folder}/*")],
            "iterdir": [path.name for path in pathlib.Path(folder).iterdir()],
        }


def reach(port: int) -> str:
    """What comes of talking to a server of this machine."""
    try:
        with socket.create_connection(("127.0.0.1", port), timeout=5) as connection:
            return connection.recv(10).decode()
    except OSError as error:
        return type(error).__name__


def read(path: str) -> str:
    """The beginning of a file, or why not."""
    try:
        return pathlib.Path(path).read_text(errors="replace")[:300]
    except OSError as error:
        return type(error).__name__


def started() -> list[int]:
    """In which order threads of one moment get their turn is the system's affair; that they were started is noted."""
    order: list[int] = []
    threads = [threading.Thread(target=order.append, args=(number,)) for number in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    return sorted(order)


script = os.stat(__file__)
print(
    json.dumps(
        {
            "addresses": [id(Thing()), hash(Thing()), [id(thing) for thing in [Thing(), Thing()]]],
            "hash seed": [hash("a"), list({"a", "b", "c", "d", "e"})],
            "clock": [time.time(), time.perf_counter(), datetime.datetime.now().isoformat()],
            "time zone": [time.tzname, datetime.datetime.fromtimestamp(0).isoformat()],
            "locale": [locale.setlocale(locale.LC_ALL, ""), locale.getpreferredencoding(False)],
            "hostname": socket.gethostname(),
            "user": getpass.getuser(),
            "uid": os.getuid(),
            "working folder": os.getcwd(),
            "environment": list(os.environ),
            "stray": os.environ.get("STRAY"),
            "file order": listings(),
            "random bits": os.urandom(8).hex(),
            "uuid": [uuid.uuid4().hex, uuid.uuid1().hex],
            "pids": [os.getpid(), os.getppid()],
            "threads": started(),
            "cores": sorted(os.sched_getaffinity(0)),
            "processors": os.cpu_count(),
            "cpu": [line for line in read("/proc/cpuinfo").splitlines() if line.startswith("model name")],
            "memory": os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES"),
            "kernel": platform.release(),
            "network": reach(CHANGE["port"]),
            "undeclared file": read(CHANGE["secret"]),
            "other processes": read(f"/proc/{CHANGE['pid']}/cmdline") == CHANGE["command"],
            "umask": os.umask(0o022),
            "terminal": [sys.stdin.isatty(), sys.stdout.isatty(), list(shutil.get_terminal_size())],
            "stdin": sys.stdin.read(),
            "temporary names": tempfile.mktemp(),
            "file times": [script.st_mtime, os.stat(".").st_mtime],
            "inode": script.st_ino,
            "limits": resource.getrlimit(resource.RLIMIT_NOFILE)[0],
            "garbage collection": [entry["collections"] for entry in gc.get_stats()],
        }
    )
)
