"""Benchmarks: contenders checked for equal results first, then timed side by side."""
