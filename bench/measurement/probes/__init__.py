"""Probes: measurements that explain the losses of a checkpoint."""
