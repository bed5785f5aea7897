"""The Profile: one user's history, as an application holds it."""

from __future__ import annotations

import logging
import threading
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol

import numpy as np

from edgepersona.bundle import Bundle
from edgepersona.errors import EdgePersonaError, InputError
from edgepersona.heads import ProfileHeads
from edgepersona.index import Index
from edgepersona.ngrams import Ngrams
from edgepersona.once import Once
from edgepersona.records import AddResult, Filter, Hit, Record, Task, check_text, checked
from edgepersona.store import Store
from edgepersona.strategies import find as find_strategy
from edgepersona.weigher import Weigher

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
    from types import TracebackType

    from numpy.typing import NDArray

    from edgepersona.drafting import Continuations
    from edgepersona.generator import Generation, Generator, Stream
    from edgepersona.index import Vectors
    from edgepersona.ngrams import Counts, Reader
    from edgepersona.persona import HistoryPersona, Mode
    from edgepersona.personahead import Persona, PersonaHead
    from edgepersona.prefixes import PrefixCache
    from edgepersona.prompt import Bias
    from edgepersona.sampling import SamplingParams
    from edgepersona.tokentable import Field

_ALL = Filter()
_log = logging.getLogger(__name__)


class Encoder(Protocol):
    """What a profile needs of an embedder."""

    def encode(self, texts: Sequence[str], *, role: str = "document") -> NDArray[np.float32]:
        """Return one L2-normalised vector a text, float32 (n, ndim); role: document or query."""


class Profile:
    """A user's records, on disk, searchable by meaning and by words.

    A change is on disk when the method that made it returns. Models are loaded when they are
    first needed: to list or delete records loads none. May be used from several threads, and by
    several processes at once. The README has this in a whole program::

        with Profile.open("me.db", default_bundle_path(), key="a passphrase") as profile:
            shed = Record("The key to the shed hangs in the blue box.", date="2026-03-02")
            added = profile.add(["I take my tea at four.", shed])  # on disk when this returns
            for hit in profile.search("where is the key", k=3, filter=Filter(since="2026")):
                print(hit.score, hit.record.text)
            params = SamplingParams(max_new_tokens=60)
            stream = profile.stream(Task("Where is the key?"), params=params)
            for piece in stream:
                print(piece, end="", flush=True)
            print(stream.result.records)  # the ids of the records that stood in the prompt
    """

    def __init__(
        self,
        store: Store,
        *,
        embedder: Callable[[], Encoder],
        vectors: Callable[[int], Vectors],
        generator: Callable[[], Generator] | None = None,
        counts: Callable[[], Counts] | None = None,
        reader: Callable[[], Reader] | None = None,
        head: Callable[[], PersonaHead] | None = None,
    ) -> None:
        """Take ``store`` over, and the functions that make what is only needed later."""
        self._store = store
        self._make_vectors = vectors
        self._make_reader = reader
        self._make_counts = counts
        self._embedder = Once(embedder)
        self._generator = Once(generator or _no_generator)
        self._head = Once(head or _no_head)
        self._index: Index | None = None
        self._persona: HistoryPersona | None = None
        self._ngrams: dict[Field, Ngrams] = {}
        self._weighers: dict[Field, Weigher] = {}
        self._prefixes: PrefixCache | None = None  # of the generator, once it was used
        self._heads: ProfileHeads | None = None  # of the last prompt
        self._lock = threading.RLock()
        self._closing = threading.RLock()

    @classmethod
    def open(
        cls,
        path: str | Path,
        bundle: str | Path | Bundle,
        *,
        key: str | None = None,
        create: bool = True,
        target: str | None = None,
        embedder: Encoder | None = None,
        generator: Generator | None = None,
    ) -> Profile:
        """Open the profile at ``path``, made where it is missing; ``key`` encrypts it at rest.

        ``target`` is where the LLM is to run, as Generator takes it. ``embedder`` and ``generator``
        are those of the bundle where they are loaded already, so that profiles share them.

        Raises ProfileError where it is damaged, locked, made with another embedder, or where
        ``key`` does not open it; BundleError where the bundle cannot be used.
        """
        if not isinstance(bundle, Bundle):
            bundle = Bundle.open(bundle)
        store = Store.open(
            Path(path),
            key=key,
            embedder_hash=bundle.embedder_hash,
            ndim=bundle.embedder.ndim,
            create=create,
        )
        return cls(
            store,
            embedder=lambda: embedder or _load_embedder(bundle, target),
            vectors=_native_vectors,
            generator=lambda: generator or _load_generator(bundle, target),
            head=lambda: _load_head(bundle),
        )

    def __enter__(self) -> Profile:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self.close()

    def close(self) -> None:
        """Close the profile's file, and let go of what is in memory; twice does no harm.

        Vectors that are being linked in the background are linked on when it is next opened.
        """
        with self._closing:  # the file stays open for a graph that is being saved
            try:
                self._let_go()
            finally:
                self._store.close()

    def __len__(self) -> int:
        return self._store.count()

    @property
    def path(self) -> Path:
        """Where the profile's file is."""
        return self._store.path

    @property
    def generation(self) -> int:
        """A number that moves with every change of a record."""
        return self._store.generation

    def add(self, records: Iterable[Record | str]) -> AddResult:
        """Store ``records``, all of them or none, and return when they are on disk.

        A plain string is the text of a record. One that is there already is left as it is. All
        are held in memory and stored in one transaction: hand a long history over in batches.
        Raises InputError where a record cannot be stored, or its id is taken by other content.
        """
        if isinstance(records, (str, Record)):
            raise InputError("add takes a list of records, and was given one: put it in a list")
        batch = [checked(Record(item) if isinstance(item, str) else item) for item in records]
        missing = self._store.missing(batch)
        new = self._store.add(missing, self._encode(missing)).new if missing else 0
        return AddResult(tuple(record.id for record in batch), new)

    def update(self, record: Record) -> None:
        """Put ``record`` in the place of the stored one with its id; InputError if none is."""
        if isinstance(record, Record) and not record.id:
            raise InputError("a record to update needs the id of the stored one")
        record = checked(record)
        if self._store.get([record.id]) != [record]:
            self._store.update(record, self._encode([record])[0])
            self._forget()

    def delete(self, ids: Sequence[str]) -> int:
        """Remove the records with these ids and every trace of them; say how many there were.

        They are gone from the file, and from memory, when this returns.
        """
        deleted = self._store.delete(_listed(ids))
        if deleted:
            self._forget()
        return deleted

    def get(self, ids: Sequence[str]) -> list[Record]:
        """Return the records with these ids, in this order; InputError names an unknown one."""
        return self._store.get(_listed(ids))

    def records(
        self,
        filter: Filter = _ALL,  # noqa: A002
    ) -> Iterator[Record]:
        """Yield the records that pass ``filter``, the newest first."""
        return self._store.records(filter)

    def recent(self, k: int) -> list[Record]:
        """Return the ``k`` newest records, the newest first."""
        return list(self._store.records(limit=k))

    def search(
        self,
        query: str,
        *,
        k: int = 10,
        filter: Filter = _ALL,  # noqa: A002
    ) -> list[Hit]:
        """Return up to ``k`` records near ``query`` in meaning or in words, best first."""
        check_text(query, what="the query")
        vector = self._embedder.get().encode([query], role="query")[0]
        return self._loaded_index().search(query, vector, k, filter)

    def persona(
        self, task: Task, mode: Mode = "question", *, beside_records: bool = False
    ) -> Persona:
        """Return what the history says to ``task`` as soft tokens, by the bundle's persona head.

        ``mode`` says what weighs the records: the question; nothing, the mean of all; or ``none``
        leaves them out. ``beside_records``: for a prompt that shows some in words. Raises
        BundleError where the bundle has no head for its models, InputError where the head was not
        trained for the task.
        """
        name = self._head.get().task(task.kind, beside_records=beside_records)
        text = task.text
        made = self._loaded_persona().soft_tokens(
            name, mode, text, lambda: self._embedder.get().encode([text], role="query")[0]
        )
        asked = name.partition("+")[0]
        if asked == task.kind:
            return made
        note = f"the persona head was not trained for a {task.kind}: asked for as a {asked}"
        return replace(made, notes=(*made.notes, note))

    def stream(
        self,
        task: Task,
        *,
        strategy: str = "rag",
        params: SamplingParams | None = None,
        schema: Mapping[str, Any] | None = None,
    ) -> Stream:
        """Start an answer to ``task``; iterate over what is returned for the text as it is made.

        With a JSON ``schema`` the answer is JSON that fits it; where its ``finish_reason`` is
        another than ``stop``, it was cut. Raises InputError for a strategy that is not known,
        a schema that cannot be followed, or where the task's own words do not fit the model's
        context.
        """
        write = find_strategy(strategy)
        with self._lock:
            for weigher in self._weighers.values():
                weigher.pause()
        self._generator.begin()  # beside the embedder and the search: each takes as long
        heads = ProfileHeads(self._store, self._store.generation)
        prompt = write(task, self)
        generator = self._generator.get()
        self._follow(generator.prefixes, heads)
        stream = generator.stream(
            prompt,
            params,
            schema=schema,
            strategy=strategy,
            heads=heads,
            continuations=self._continuations(task.field),
        )
        if prompt.bias is not None:
            stream.at_end = self._weigher(task.field).begin
        return stream

    def generate(
        self,
        task: Task,
        *,
        strategy: str = "rag",
        params: SamplingParams | None = None,
        schema: Mapping[str, Any] | None = None,
    ) -> Generation:
        """Return the whole answer to ``task``, with what it was made from; see ``stream``."""
        stream = self.stream(task, strategy=strategy, params=params, schema=schema)
        for _ in stream:
            pass
        return stream.result

    def bias(
        self, task: Task, *, shown: Sequence[str] = (), has_persona: bool = False
    ) -> Bias | None:
        """Return what makes the user's own words likelier in an answer to ``task``.

        ``shown`` are the ids of the records that stand in the prompt: what is to be found anew for
        a text, its title, is not to be one of theirs. ``has_persona``: whether soft tokens stand
        there as well. None where no record has words of the user's: those of the kind ``read``,
        which others wrote, do not count.
        """
        field = task.field
        counts = self._loaded_ngrams(field)
        if not len(counts):
            return None
        from edgepersona.biases import NgramBias
        from edgepersona.weights import DEFAULT, read_fit

        generator = self._generator.get()
        fit = read_fit(self._store.load_weight(field))
        weight = fit.weight if fit and fit.generator == generator.hash else DEFAULT
        titles = [record.title for record in self.get(shown)] if task.is_new else []
        return NgramBias(
            self._ngrams[field].counts,
            generator.tokenizer.decode,
            weight,
            beside_records=bool(shown),
            shown=generator.tokenizer.encode_plain([f" {title}" for title in titles if title]),
            spares=has_persona,
        )

    def weigh(self, task: Task) -> None:
        """Fit how much the user's own words weigh in answers to ``task``, and wait for that.

        Else it is done between answers, in the background.
        """
        weigher = self._weigher(task.field)
        weigher.pause()
        weigher.join()
        weigher.begin()
        weigher.join()

    def _follow(self, prefixes: PrefixCache, heads: ProfileHeads) -> None:
        """Let go of what was read of records that other processes removed since the last answer."""
        with self._lock:
            if self._heads is not None and self._heads.is_stale():
                prefixes.clear()
            self._heads, self._prefixes = heads, prefixes

    def _continuations(self, field: Field) -> Continuations | None:
        """Return what the n-grams of a field offer as drafts, where they are in memory already."""
        ngrams = self._ngrams.get(field)
        return None if ngrams is None else ngrams.continuations

    def _forget(self) -> None:
        """Overwrite in memory what is gone from the file.

        Where that fails, as on a file that is locked or damaged, memory is let go of as a whole:
        the change is stored, and the next search says what is wrong.
        """
        with self._lock:
            index, ngrams, persona = self._index, dict(self._ngrams), self._persona
            for weigher in self._weighers.values():
                weigher.pause()
            if self._prefixes is not None:
                self._prefixes.clear()
        try:
            if index is not None:
                index.refresh()
            if persona is not None:
                persona.forget()
            for model in ngrams.values():
                model.forget()
        except EdgePersonaError as error:
            _log.warning("vectors, persona and n-grams are loaded again: %s", str(error))
            self._let_go()

    def _let_go(self) -> None:
        with self._lock:
            index, self._index = self._index, None
            ngrams, self._ngrams = self._ngrams, {}
            weighers, self._weighers = self._weighers, {}
            persona, self._persona = self._persona, None
            if self._prefixes is not None:
                self._prefixes.clear()
        for weigher in weighers.values():
            weigher.close()
        if persona is not None:
            persona.close()
        if index is not None:
            index.close()
        for model in ngrams.values():
            model.close()

    def _loaded_persona(self) -> HistoryPersona:
        from edgepersona.persona import HistoryPersona

        with self._lock:
            if self._persona is None:
                self._persona = HistoryPersona(
                    self._store,
                    self._head.get(),
                    tokenize=lambda texts: self._generator.get().tokenizer.encode_plain(texts),
                    embed=lambda ids: self._generator.get().decoder.embed(ids),
                    encode=lambda texts: self._embedder.get().encode(texts),
                    nearest=lambda vector, k: self._loaded_index().nearest(vector, k),
                )
            return self._persona

    def _loaded_ngrams(self, field: Field) -> Counts:
        """Return the n-grams of all titles or all texts, up to date."""
        with self._lock:
            if field not in self._ngrams:
                self._ngrams[field] = self._new_ngrams(field)
            ngrams = self._ngrams[field]
        return ngrams.refresh()

    def _new_ngrams(self, field: Field) -> Ngrams:
        make_counts = self._make_counts or _native_counts
        reader = self._make_reader or (lambda: self._generator.get().tokenizer)
        return Ngrams(self._store, make_counts(), reader, field)

    def _weigher(self, field: Field) -> Weigher:
        """Return what fits how much the n-grams of a field weigh."""

        def fit(wanted: Callable[[], bool]) -> None:
            from edgepersona.weights import fit_weight

            counts = self._new_ngrams(field).refresh
            fit_weight(self._store, field, self._generator.get(), counts, wanted=wanted)

        with self._lock:
            if field not in self._weighers:
                self._weighers[field] = Weigher(fit)
            return self._weighers[field]

    def _encode(self, records: Sequence[Record]) -> NDArray[np.float32]:
        if not records:
            return np.empty((0, self._store.ndim), dtype=np.float32)
        return self._embedder.get().encode([embedded_text(record) for record in records])

    def _loaded_index(self) -> Index:
        with self._lock:
            if self._index is None:
                self._index = Index(self._store, self._make_vectors(self._store.ndim))
            return self._index


def _no_generator() -> Generator:
    raise EdgePersonaError("this profile was opened without a generator")


def _no_head() -> PersonaHead:
    raise EdgePersonaError("this profile was opened without a persona head")


def _load_head(bundle: Bundle) -> PersonaHead:
    from edgepersona.headfile import read_head
    from edgepersona.personahead import PersonaHead

    return PersonaHead(read_head(bundle))


def _load_generator(bundle: Bundle, target: str | None) -> Generator:
    from edgepersona.generator import Generator

    return Generator(bundle, target=target)


def embedded_text(record: Record) -> str:
    """Return the text that stands for ``record`` in its vector."""
    return "\n".join(part for part in (record.title, record.text) if part)


def _listed(ids: Sequence[str]) -> Sequence[str]:
    if isinstance(ids, str):
        raise InputError(f"expected a list of ids, got the string {ids!r}: put it in a list")
    return ids


def _load_embedder(bundle: Bundle, target: str | None) -> Encoder:
    from edgepersona.embedder import Embedder

    return Embedder(bundle, target=target)


def _native_vectors(ndim: int) -> Vectors:
    from edgepersona._native import VectorIndex

    return VectorIndex(ndim)


def _native_counts() -> Counts:
    from edgepersona._native import NgramModel

    return NgramModel()
