"""The formats of a drift report, one file each."""
