"""Vector search beside its peers: the data, the field, the tuning, the worker that measures."""
