import subprocess
from pathlib import Path

import pytest

IDENTITY = ["-c", "user.name=T", "-c", "user.email=t@example.org", "-c", "commit.gpgsign=false",
            "-c", "protocol.file.allow=always"]  # fmt: skip


class GitFolder:
    """A folder under git, and what a test does to it."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def git(self, *arguments: str | bytes) -> bytes:
        return subprocess.check_output(["git", *IDENTITY, *arguments], cwd=self.path, stderr=subprocess.PIPE)

    def commit(self) -> str:
        self.git("add", "--all")
        self.git("commit", "-q", "-m", "State")
        return self.head()

    def head(self) -> str:
        return self.git("rev-parse", "HEAD").decode().strip()

    def files(self) -> dict[bytes, tuple[str, bytes]]:
        """Every file that is not ignored: its kind and its content. Only git's own folders are left out."""
        found = {}
        ignored = set(self.git("ls-files", "-z", "-o", "-i", "--exclude-standard").split(b"\0"))
        for path in sorted(self.path.rglob("*")):
            name = bytes(path.relative_to(self.path))
            if ".git" in path.parts or name in ignored:
                continue
            if path.is_symlink():
                found[name] = ("link", bytes(path.readlink()))
            elif path.is_file():
                found[name] = ("program" if path.stat().st_mode & 0o100 else "file", path.read_bytes())
        return found

    def state(self) -> dict[Path, bytes]:
        """Every byte that git keeps."""
        return {path: path.read_bytes() for path in sorted((self.path / ".git").rglob("*")) if path.is_file()}

    def lay_trap(self) -> Path:
        """A program that a repository's configuration names wherever one can be named; the file that it leaves."""
        sprung = self.path.parent / "sprung"
        program = self.path.parent / "trap"
        program.write_text(f"#!/bin/sh\necho $0 $@ >> {sprung}\ncat\n")
        program.chmod(0o755)
        hooks = self.path / ".git" / "hooks"
        hooks.mkdir(exist_ok=True)
        for name in ("post-index-change", "fsmonitor-watchman", "pre-commit", "post-checkout", "reference-transaction"):
            (hooks / name).write_bytes(program.read_bytes())
            (hooks / name).chmod(0o755)
        (self.path / ".gitattributes").write_text("* filter=evil diff=evil merge=evil\n")
        settings = {
            "core.fsmonitor": program, "core.pager": program, "core.editor": program, "diff.external": program,
            "diff.evil.textconv": program, "diff.evil.command": program, "filter.evil.clean": program,
            "filter.evil.smudge": program, "filter.evil.process": program, "filter.evil.required": "true",
            "extensions.partialClone": "origin", "remote.origin.promisor": "true",
            "remote.origin.url": f"ext::{program}", "protocol.ext.allow": "always", "core.sshCommand": program,
        }  # fmt: skip
        for name, value in settings.items():
            self.git("config", name, str(value))
        return sprung


@pytest.fixture
def repository(tmp_path: Path) -> GitFolder:
    """A repository with two commits, a file that is ignored, and nothing else."""
    folder = GitFolder(tmp_path / "repository")
    folder.path.mkdir()
    folder.git("init", "-q", "-b", "main")
    (folder.path / "tracked.py").write_text("1\n")
    (folder.path / ".gitignore").write_text("ignored\n")
    folder.commit()
    (folder.path / "second.bin").write_bytes(bytes(range(256)) * 4)
    folder.commit()
    (folder.path / "ignored").write_text("of no interest\n")
    return folder
