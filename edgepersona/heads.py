"""The heads of prompts that a profile keeps, as the prefix cache sees them."""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING

from edgepersona.errors import ProfileError

if TYPE_CHECKING:
    from edgepersona.store import Store

_log = logging.getLogger(__name__)


class ProfileHeads:
    """Heads of prompts in a store, of a prompt written at ``generation``.

    They spare time and are no part of an answer: what stands in the way, such as another process
    that is writing, is logged and not raised.
    """

    def __init__(self, store: Store, generation: int) -> None:
        self._store = store
        self._generation = generation

    def load(self, key: bytes) -> bytes | None:
        """Return what was saved under ``key``; None where that is nothing, or not whole."""
        try:
            return self._store.load_head(key)
        except ProfileError as error:
            _log.info("a prompt is read anew: %s", str(error))
            return None

    def note_use(self, key: bytes) -> bool:
        """Note that the head under ``key`` was used; say whether it is worth saving anew."""
        try:
            return not self._store.touch_head(key)
        except ProfileError as error:
            _log.info("a prompt's head is left as it is: %s", str(error))
            return False

    def save(self, key: bytes, state: bytes) -> None:
        """Keep ``state`` under ``key``, unless the records changed since the prompt was written."""
        try:
            self._store.save_head(key, state, self._generation)
        except ProfileError as error:
            _log.info("a prompt's head is not saved: %s", str(error))

    def is_stale(self) -> bool:
        """Say whether a record may have been removed or changed since the prompt was written."""
        try:
            gone = self._store.gone(self._generation, self._store.generation)
        except ProfileError:  # closed meanwhile
            return True
        return gone is None or bool(gone)
