"""Whole supervisors in virtual time: real scheduler, pool, crew and pipeline, everything else fake.

A seed makes one history. Run `python -m tests.simulation --help`.
"""
