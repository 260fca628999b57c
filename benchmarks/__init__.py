"""Where the README's figures come from: what the harness does against what a user would pick instead, in one run.

`python -m benchmarks [NAME …] [--runs N] [--json FILE]` prints medians of paired runs, one after the other in turn, so
that what slows the machine slows both. A figure that misses its target is shown as missed.
"""
