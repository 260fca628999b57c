"""Runs the same operators and fits on this CPU and on emulated ones, and compares their bits, operator by operator."""
