"""How a cell is computed: the order of the stages, keys, cache and engines."""
