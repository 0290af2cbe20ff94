"""Integer kernels: lowering the quantized graph, and its agreement with the simulation."""
