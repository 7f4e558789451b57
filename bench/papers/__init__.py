"""The papers' image tables, run again: a declared grid, one JSON file per run, and the pages made from them."""
