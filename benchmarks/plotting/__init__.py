"""Figures from what the benchmarks have written down."""
