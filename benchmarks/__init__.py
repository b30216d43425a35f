"""Measuring: the bare host, pysc and other runtimes, the same guest programs in each, in one run.

``python -m benchmarks`` prints a table of medians and of ratios to the host.  Figures are never tests.
"""
