"""A profile's persona follows its records, and is the same as one made afresh of them."""

from __future__ import annotations

import random
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from edgepersona import persona as module
from edgepersona.bundle import Bundle
from edgepersona.errors import BundleError, EdgePersonaError, InputError, ProfileError
from edgepersona.generator import Generator
from edgepersona.headfile import HeadFile
from edgepersona.index import Index
from edgepersona.persona import HistoryPersona
from edgepersona.personahead import PersonaHead
from edgepersona.profile import Profile
from edgepersona.records import READ_KIND, Record, Task
from edgepersona.sampling import SamplingParams
from tests import tiny, tiny_persona
from tests.standins import NDIM, ChainDecoder, NumpyVectors, WordEmbedder
from tests.tiny_persona import add_random_head, make, soft_tokens

TABLE = np.random.default_rng(5).normal(size=(256, 2)).astype(np.float32)
KINDS = [{}, {"reads": "item"}, {"reads": "output"}, {"pooled": 0, "adapted": False}]
VECTORS = WordEmbedder()
SCALE = 3.0


def tokenize(texts):
    return [[ord(letter) % 256 for letter in text] for text in texts]


def embed(ids):
    return TABLE[np.array(ids)]


def head_of(seed: int = 0, **sizes) -> PersonaHead:
    shape, arrays = make(seed, **sizes)
    found = {name: array.astype(np.float32) for name, array in arrays.items()}
    return PersonaHead(HeadFile(tiny_persona.digest(str(seed)), shape, SCALE, (), found))


def follow(store, head: PersonaHead) -> HistoryPersona:
    index = Index(store, NumpyVectors(NDIM))
    return HistoryPersona(
        store,
        head,
        tokenize=tokenize,
        embed=embed,
        encode=VECTORS.encode,
        nearest=index.nearest,
    )


def vectors(*records: Record) -> np.ndarray:
    return VECTORS.encode([f"{record.title}\n{record.text}" for record in records])


def put(store, *records: Record) -> None:
    store.add(records, vectors(*records))


def say(persona: HistoryPersona, text: str, mode: str = "question", task: str = "title"):
    return persona.soft_tokens(task, mode, text, lambda: VECTORS.encode([text])[0])


def note(number: int, **fields) -> Record:
    date = f"20{number % 90 + 10}"
    known = {"title": f"title {number * 7 % 11} {number}", "date": date, "id": f"n{number}"}
    return Record(f"word{number % 13} and {number}", **{**known, **fields})


def expected(head_sizes: dict, records: list[Record], text: str, *, mean: bool = False):
    """Compute in plain loops what a head says of records, the newest first."""
    shape, arrays = make(**head_sizes)
    items = vectors(*records).astype(np.float16).astype(np.float64)
    query = VECTORS.encode([text])[0]
    weights = tiny_persona.attention(arrays, SCALE, query, items)
    if mean:
        weights = np.full(len(records), 1 / len(records))
    return soft_tokens(
        shape,
        arrays,
        task="title",
        weights=weights,
        items=items,
        outputs=VECTORS.encode([record.title for record in records]),
        titles=tokenize([f" {record.title}" for record in records]),
        table=TABLE,
    )


@pytest.mark.parametrize("sizes", KINDS, ids=str)
def test_a_history_says_what_the_head_says_of_its_records(sizes: dict, store) -> None:
    records = [note(i) for i in range(6)]
    put(store, *records)
    persona = follow(store, head_of(**sizes))
    said = say(persona, "word3 and tea")
    newest = sorted(records, key=lambda record: record.date, reverse=True)
    assert np.abs(said.vectors - expected(sizes, newest, "word3 and tea")).max() < 1e-4
    assert len(said.records) == 2
    assert said.notes == ()
    mean = say(persona, "whatever", "mean")
    assert np.abs(mean.vectors - expected(sizes, newest, "x", mean=True)).max() < 1e-4
    assert mean.records == (newest[1].id, newest[0].id)  # the newest beside what follows
    assert np.array_equal(say(persona, "something else", "mean").vectors, mean.vectors)


@pytest.mark.parametrize("sizes", KINDS[:2], ids=str)
def test_after_a_thousand_changes_it_equals_one_made_afresh(sizes: dict, store) -> None:
    rng = random.Random(7)
    head = head_of(**sizes)
    persona = follow(store, head)
    held: list[str] = []
    number = 0
    for step in range(1000):
        if held and rng.random() < 0.4:
            gone = held.pop(rng.randrange(len(held)))
            store.delete([gone])
            if rng.random() < 0.5:
                persona.forget()
        elif held and rng.random() < 0.1:
            changed = note(number, id=rng.choice(held), title=f"changed {step}")
            store.update(changed, vectors(changed)[0])
        else:
            number += 1
            put(store, note(number))
            held.append(f"n{number}")
        if rng.random() < 0.3:
            persona.refresh()
    assert len(held) > 20
    afresh = follow(store, head)
    for mode in ("question", "mean"):
        for text in ("word3", "and 5", "title 4"):
            one, other = say(persona, text, mode), say(afresh, text, mode)
            assert np.abs(one.vectors - other.vectors).max() < 1e-5
            assert one.records == other.records


def test_the_window_is_the_newest_records_and_refills(store, monkeypatch) -> None:
    monkeypatch.setattr(module, "WINDOW", 3)
    put(store, *(note(i, date=f"202{i}") for i in range(6)))
    persona = follow(store, head_of())
    assert say(persona, "x", "mean").records == ("n4", "n5")
    assert len(persona) == 3
    store.delete(["n5", "n4"])
    persona.forget()
    assert len(persona) == 1
    assert say(persona, "x", "mean").records == ("n2", "n3")
    assert len(persona) == 3
    late = note(9, date="2029")
    put(store, late)
    afresh = follow(store, head_of())
    one, other = say(persona, "late"), say(afresh, "late")
    assert np.abs(one.vectors - other.vectors).max() < 1e-5
    assert say(persona, "x", "mean").records == ("n3", "n9")


def test_titles_are_shown_of_the_nearest_records_however_old(store, monkeypatch) -> None:
    monkeypatch.setattr(module, "WINDOW", 4)
    old = Record("boats and harbours", title="sailing", date="1999", id="old")
    bare = Record("boats and harbours at dawn", date="1998", id="bare")
    read = replace(old, text="boats, harbours", kind=READ_KIND, id="read")
    put(store, old, bare, read, *(note(i, date=f"202{i}") for i in range(8)))
    persona = follow(store, head_of(adapted=False))
    assert say(persona, "boats and harbours").records[-1] == "old"
    assert len(persona) == 4
    assert "bare" not in say(persona, "boats and harbours at dawn").records
    store.delete(["old"])
    persona.forget()
    assert "old" not in say(persona, "boats and harbours").records
    assert "old" not in say(persona, "x", "mean").records


def test_beside_records_in_words_a_head_reads_the_newest_titles_where_it_says_so(store) -> None:
    for i in range(6):
        title = "tea" if i < 3 else "boats"
        put(store, Record(title, title=title, date=f"202{i}", id=f"n{i}"))
    tasks = ("title", "title+rag")
    newest, nearest = (
        follow(store, head_of(tasks=tasks, adapted=False, beside=beside))
        for beside in ("newest", "nearest")
    )
    assert say(newest, "tea", task="title+rag").records == ("n4", "n5")
    assert set(say(newest, "tea").records) < {"n0", "n1", "n2"}
    assert set(say(nearest, "tea", task="title+rag").records) < {"n0", "n1", "n2"}
    # What is pooled is weighed by the question all the same.
    one, other = (say(newest, text, task="title+rag").vectors for text in ("tea", "boats"))
    assert not np.allclose(one[2:4], other[2:4])


@pytest.mark.parametrize("beside", ["newest", "nearest"])
def test_beside_records_in_words_a_head_reads_as_many_titles_as_it_says(store, beside: str) -> None:
    for i in range(6):
        put(store, Record("tea", title="tea", date=f"202{i}", id=f"n{i}"))
    persona = follow(
        store,
        head_of(tasks=("title", "title+rag"), records=1, records_beside=4, beside=beside),
    )
    assert len(say(persona, "tea").records) == 1
    assert say(persona, "tea", task="title+rag").records == ("n2", "n3", "n4", "n5")
    assert len(say(persona, "tea", "mean", task="title+rag").records) == 4


def test_a_head_may_read_titles_beside_records_alone_or_everywhere_else(store) -> None:
    put(store, note(1), note(2))
    tasks = ("title", "title+rag")
    only, never = (
        follow(store, head_of(tasks=tasks, records=count, records_beside=2 - count))
        for count in (0, 2)
    )
    for persona, counts in ((only, (0, 2)), (never, (2, 0))):
        found = [len(say(persona, "x", task=task).records) for task in tasks]
        assert tuple(found) == counts


def test_only_titled_records_take_part_where_titles_are_read(store) -> None:
    put(store, Record("a note", id="a"), note(1), Record("another", id="b"))
    assert len(follow(store, head_of())) == 0
    for sizes, count in (({}, 1), ({"reads": "output", "records": 0}, 1)):
        persona = follow(store, head_of(**sizes))
        persona.refresh()
        assert len(persona) == count
    whole = follow(store, head_of(reads="item", records=0))
    whole.refresh()
    assert len(whole) == 3


def test_what_others_wrote_takes_no_part(store) -> None:
    put(store, note(1), note(2, kind=READ_KIND))
    for sizes in ({}, {"reads": "item", "records": 0}):
        persona = follow(store, head_of(**sizes))
        persona.refresh()
        assert len(persona) == 1
    changed = note(1, kind=READ_KIND)
    store.update(changed, vectors(changed)[0])
    persona.forget()
    assert len(persona) == 0


def test_without_history_the_instruction_stands_alone_and_it_is_said(store) -> None:
    head = head_of()
    persona = follow(store, head)
    alone = say(persona, "anything", "none")
    assert alone.notes == ()
    assert alone.vectors.shape == (5, 2)
    for mode in ("question", "mean"):
        said = say(persona, "anything", mode)
        assert np.array_equal(said.vectors, alone.vectors)
        assert (said.records, said.notes) == (
            (),
            ("no history yet: the persona is the head's instruction alone",),
        )
    put(store, note(1))
    assert say(persona, "anything").records == ("n1",)
    store.delete(["n1"])
    assert np.array_equal(say(persona, "anything").vectors, alone.vectors)


def test_a_question_asked_again_is_not_computed_again_until_a_record_changes(store) -> None:
    put(store, note(1), note(2))
    persona = follow(store, head_of())
    asked = []

    def query():
        asked.append(1)
        return VECTORS.encode(["tea"])[0]

    first = persona.soft_tokens("title", "question", "tea", query)
    again = persona.soft_tokens("title", "question", "tea", query)
    assert np.array_equal(first.vectors, again.vectors)
    assert first.records == again.records
    assert len(asked) == 1
    other_task = persona.soft_tokens("rating", "question", "tea", query)
    assert not np.array_equal(first.vectors, other_task.vectors)
    put(store, replace(note(3), title="other words"))  # from their first letter on
    assert not np.allclose(
        persona.soft_tokens("title", "question", "tea", query).vectors, first.vectors, atol=1e-3
    )
    assert len(asked) == 3


def test_what_is_forgotten_leaves_memory_at_once(store) -> None:
    secret = note(1, title="zzzzzz")
    put(store, secret, note(2))
    persona = follow(store, head_of())
    say(persona, "zzzzzz")
    key = vectors(secret)[0].astype(np.float16).astype(np.float32)
    assert (persona._keys == key).all(1).any()
    assert (persona._titles == ord("z")).any()
    store.delete(["n1"])
    persona.forget()
    assert not (persona._keys == key).all(1).any()
    assert not (persona._titles == ord("z")).any()
    assert len(persona._rows) == 1
    assert len(persona._cache) == 0
    assert say(persona, "zzzzzz").records == ("n2",)


def test_another_process_that_changes_the_profile_is_followed(store, open_store) -> None:
    put(store, note(1), note(2))
    persona = follow(store, head_of())
    say(persona, "x")
    other = open_store()
    other.delete(["n1"])
    changed = note(2, title="new words")
    other.update(changed, vectors(changed)[0])
    put(other, note(3))
    afresh = follow(open_store(), head_of())
    one, fresh = say(persona, "x"), say(afresh, "x")
    assert np.abs(one.vectors - fresh.vectors).max() < 1e-5
    assert set(one.records) == {"n2", "n3"}


def test_closing_wipes_and_a_closed_one_says_so(store) -> None:
    put(store, note(1))
    persona = follow(store, head_of())
    say(persona, "x")
    persona.close()
    persona.close()
    assert not persona._keys.any()
    assert not persona._titles.any()
    with pytest.raises(ProfileError, match="this profile was closed"):
        say(persona, "x")


# Through a Profile


@pytest.fixture
def bundle(tmp_path: Path) -> Bundle:
    tiny.write_empty_bundle(tmp_path / "bundle")
    return add_random_head(tmp_path / "bundle", tasks=("title", "title+rag", "rating"))


@pytest.fixture
def decoder() -> ChainDecoder:
    return ChainDecoder()


@pytest.fixture
def open_profile(open_store, bundle: Bundle, decoder: ChainDecoder, embedder: WordEmbedder):
    generator = Generator(bundle, decoder=decoder)

    def open_() -> Profile:
        return Profile(
            open_store(),
            embedder=lambda: embedder,
            vectors=NumpyVectors,
            generator=lambda: generator,
            head=lambda: module_head(bundle),
        )

    return open_


def module_head(bundle: Bundle) -> PersonaHead:
    from edgepersona.profile import _load_head

    return _load_head(bundle)


TITLE = Task("word3 and tea", kind="title")
SHORT = SamplingParams(max_new_tokens=3, temperature=0.0, seed=0)


def test_a_profile_feeds_its_persona_through_a_thousand_changes(open_profile) -> None:
    rng = random.Random(11)
    profile = open_profile()
    held: list[str] = []
    number = 0
    for step in range(1000):
        if held and rng.random() < 0.4:
            profile.delete([held.pop(rng.randrange(len(held)))])
        elif held and rng.random() < 0.1:
            profile.update(note(number, id=rng.choice(held), title=f"changed {step}"))
        else:
            number += 1
            profile.add([note(number)])
            held.append(f"n{number}")
        if rng.random() < 0.2:
            profile.persona(TITLE)
    afresh = open_profile()
    for text in ("word3", "title 5", "and"):
        for mode in ("question", "mean"):
            task = replace(TITLE, text=text)
            one, other = profile.persona(task, mode), afresh.persona(task, mode)
            assert np.abs(one.vectors - other.vectors).max() < 1e-5
            assert one.records == other.records


def test_a_new_record_takes_part_at_once_and_a_deleted_one_no_more(open_profile) -> None:
    profile = open_profile()
    profile.add([note(1)])
    first = profile.persona(TITLE)
    profile.add([note(2)])
    second = profile.persona(TITLE)
    assert first.records == ("n1",)
    assert set(second.records) == {"n1", "n2"}
    profile.delete(["n2"])
    third = profile.persona(TITLE)
    assert third.records == ("n1",)
    assert np.abs(third.vectors - first.vectors).max() < 1e-5


def test_deleting_wipes_the_persona_before_it_returns(open_profile) -> None:
    profile = open_profile()
    profile.add([note(1, title="zzzz"), note(2)])
    profile.persona(TITLE)
    persona = profile._persona
    profile.delete(["n1"])
    assert not (persona._titles == persona._tokenize(["zzzz"])[0][0]).any()
    assert len(persona) == 1
    profile.close()
    assert not persona._keys.any()


def test_soft_tokens_are_prompt_tokens_and_their_records_are_told(open_profile) -> None:
    profile = open_profile()
    profile.add([note(1), note(2), note(3)])
    plain = profile.generate(TITLE, strategy="none", params=SHORT)
    answer = profile.generate(TITLE, strategy="pplug", params=SHORT)
    said = profile.persona(TITLE)
    assert answer.prompt_tokens == plain.prompt_tokens + len(said.vectors)
    assert answer.records == said.records
    assert len(answer.records) == 2
    assert answer.notes == ()
    assert answer.strategy == "pplug"
    soft = profile.generate(TITLE, strategy="pplug-soft", params=SHORT)
    assert soft.prompt_tokens == plain.prompt_tokens + 5
    assert (soft.records, soft.notes) == ((), ())


def test_a_cold_start_says_so_in_the_result(open_profile) -> None:
    profile = open_profile()
    for strategy in ("pplug", "mean", "pplug+rag"):
        answer = profile.generate(TITLE, strategy=strategy, params=SHORT)
        assert answer.notes == ("no history yet: the persona is the head's instruction alone",)
        assert answer.records == ()


def test_a_task_of_another_kind_is_asked_as_the_nearest_or_refused(open_profile) -> None:
    profile = open_profile()
    profile.add([note(1)])
    subject = replace(TITLE, kind="subject")
    answer = profile.generate(subject, strategy="pplug", params=SHORT)
    assert answer.notes == ("the persona head was not trained for a subject: asked for as a title",)
    with pytest.raises(InputError, match="trained for title and rating, not for the task 'answer'"):
        profile.generate(Task("Where is the key?"), strategy="pplug")


def test_beside_records_the_head_is_asked_as_it_learnt_it_there(open_profile) -> None:
    profile = open_profile()
    profile.add([note(1), note(2)])
    alone, beside = (profile.persona(TITLE, beside_records=on) for on in (False, True))
    assert not np.array_equal(alone.vectors[:2], beside.vectors[:2])
    stream = profile.stream(TITLE, strategy="pplug+rag", params=SHORT)
    (soft,) = (part for part in stream.layout.parts if not isinstance(part, list))
    assert np.array_equal(soft, beside.vectors)
    for _ in stream:
        pass
    assert set(stream.result.records) == {"n1", "n2"}
    assert len(stream.result.records) == 2


def test_the_mean_is_read_once_for_all_questions(open_profile, decoder: ChainDecoder) -> None:
    profile = open_profile()
    profile.add([note(i) for i in range(4)])
    first = profile.generate(TITLE, strategy="mean", params=SHORT)
    decoder.prefilled.clear()
    second = profile.generate(replace(TITLE, text="quite another"), strategy="mean", params=SHORT)
    persona = len(profile.persona(TITLE, "mean").vectors)
    assert first.reused_tokens == 0
    assert second.reused_tokens > persona
    third = open_profile().generate(replace(TITLE, text="in another run"), strategy="mean")
    assert third.prompt_tokens > persona


def test_without_a_head_the_strategies_say_how_to_get_one(open_store, tmp_path, embedder) -> None:
    bundle = tiny.write_empty_bundle(tmp_path / "plain")
    profile = Profile(
        open_store(),
        embedder=lambda: embedder,
        vectors=NumpyVectors,
        generator=lambda: Generator(bundle, decoder=ChainDecoder()),
        head=lambda: module_head(bundle),
    )
    for strategy in ("pplug", "mean", "pplug-soft", "pplug+rag"):
        with pytest.raises(BundleError, match="has no persona head: train one with"):
            profile.generate(TITLE, strategy=strategy)
    bare = Profile(open_store(), embedder=lambda: embedder, vectors=NumpyVectors)
    with pytest.raises(EdgePersonaError, match="opened without a persona head"):
        bare.persona(TITLE)
