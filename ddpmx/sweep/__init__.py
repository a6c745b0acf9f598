"""One spec, many runs: the points of a `sweep:` block and what runs them."""
