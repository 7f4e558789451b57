"""The papers' translation table, run again: a declared grid, one JSON file per run, and the page made from them."""
