"""Turn a generator and an embedder into a bundle that the runtime can run."""

__all__: list[str] = []
