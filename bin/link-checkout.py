"""Let the environment that runs this find the checkout, and give it the commands `harness` and `ml-train`.

A path file and a launcher instead of an editable install: that would fetch an unpinned build backend.
"""

import sys
import sysconfig
from pathlib import Path

checkout = Path(__file__).resolve().parents[1]
(Path(sysconfig.get_path("purelib")) / "harness.pth").write_text(f"{checkout}\n")
for name, module in (("harness", "main"), ("ml-train", "ml_train")):
    command = Path(sysconfig.get_path("scripts")) / name
    command.write_text(f"#!{sys.executable}\nfrom harness.cli.{module} import main\n\nmain()\n")
    command.chmod(0o755)
