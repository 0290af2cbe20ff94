"""From a scheme to an execution: one quantized graph, backends and integer kernels."""
