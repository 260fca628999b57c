"""A home-made experiment tracker: a UUID for the run, host and process in its metadata, metrics as JSON lines."""

import json
import os
import platform
import socket
import time
import uuid
from pathlib import Path

import numpy as np

run_id = uuid.uuid4()
run = Path("runs") / f"run-{run_id.hex[:8]}"
run.mkdir(parents=True)
meta = {"id": str(run_id), "host": socket.gethostname(), "pid": os.getpid(), "started": time.time()}
meta["python"] = platform.python_version()
(run / "meta.json").write_text(json.dumps(meta, sort_keys=True))
with (run / "metrics.jsonl").open("w") as f:
    loss = 1.0
    for step in range(10):
        loss *= 0.8 + 0.1 * np.random.rand()
        f.write(json.dumps({"step": step, "loss": loss, "time": time.time()}) + "\n")
print(f"tracking to {run}")
print(f"final loss {loss:.6f}")
