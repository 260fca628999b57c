"""Let the environment that runs this find the checkout, and give it the command `harness`.

A path file and a launcher instead of an editable install: that would fetch an unpinned build backend.
"""

import sys
import sysconfig
from pathlib import Path

checkout = Path(__file__).resolve().parents[1]
(Path(sysconfig.get_path("purelib")) / "harness.pth").write_text(f"{checkout}\n")
command = Path(sysconfig.get_path("scripts")) / "harness"
command.write_text(f"#!{sys.executable}\nfrom harness.cli.main import main\n\nmain()\n")
command.chmod(0o755)
