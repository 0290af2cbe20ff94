"""What is measured: data sets, features, metrics and probes."""
