"""A small LLaMA under every method: a declared grid, one JSON file per run, and the table made from them."""
