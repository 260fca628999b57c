"""Which edition of strict's own kernels this is. Standard library only."""

VERSION = "3"
"""Part of every strict run's environment: raise it with any change of a kernel that can move a bit of a result."""

SWEPT = "1"
"""The edition that the sweep's records are keyed by: since it, no kernel gives other bits for anything recorded.

2 added only what no record of 1 has: functions of whole numbers, and `_addmm_activation`. 3 gave large float32 products
to oneDNN and least squares to `gelsd`: the groups of cases that it moved were taken out of all records and swept again
(`tests.cross_cpu forget`).
Who changes a kernel so that a bit of anything recorded can move does the same, or sets this to `VERSION` and sweeps all
of it again.
"""
