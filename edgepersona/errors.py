"""The exceptions edgepersona raises on purpose."""


class EdgePersonaError(Exception):
    """The base of every deliberate error; its message says what to do."""


class BundleError(EdgePersonaError, RuntimeError):
    """A bundle is missing, damaged, or cannot run on this machine."""


class ProfileError(EdgePersonaError, RuntimeError):
    """A profile is corrupt, locked, opened with a wrong key, or made with another embedder."""


class InputError(EdgePersonaError, ValueError):
    """A value handed in cannot be used; nothing was stored or changed."""


class ExportError(EdgePersonaError, RuntimeError):
    """A model could not be exported or did not pass verification; nothing was published."""
