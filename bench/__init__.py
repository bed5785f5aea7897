"""Benchmarks: edgepersona beside its peers, in the same run, on the same weights and threads."""
