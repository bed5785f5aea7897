"""A strategy turns a task and a history into a Prompt, and nothing else happens."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import pytest

from edgepersona.errors import InputError
from edgepersona.personahead import Persona
from edgepersona.prompt import Bias, Prompt, SoftSegment, TextSegment
from edgepersona.records import TASK_KINDS, Hit, Record, Task
from edgepersona.strategies import ADDITIONS, MIXTURE, PERSONAS, STRATEGIES, find
from tests.standins import Nudge

HISTORY = [Record(f"text {i}", title=f"title {i}", id=f"r{i}") for i in range(9)]


class View:
    """A history that answers every search with its first records, and has no others."""

    def __init__(self, records: list[Record]) -> None:
        self._records = records
        self.queries: list[str] = []
        self.shown: list[str] = []
        self.has_persona = False

    def search(self, query: str, *, k: int) -> list[Hit]:
        self.queries.append(query)
        return [Hit(record, 1.0) for record in self._records[:k]]

    def recent(self, k: int) -> list[Record]:
        return self._records[-k:]

    def bias(
        self, task: Task, *, shown: Sequence[str] = (), has_persona: bool = False
    ) -> Bias | None:
        self.shown, self.has_persona = [*shown], has_persona
        return Nudge([1]) if self._records else None

    def persona(self, task: Task, mode: str, *, beside_records: bool = False) -> Persona:
        """Say in the vectors what was asked for: the mode, and whether records stand beside."""
        number = ["none", "mean", "question"].index(mode)
        vectors = np.array([[number, beside_records]], np.float32)
        if mode == "none":
            return Persona(vectors)
        return Persona(vectors, tuple(r.id for r in self._records[:1]), notes=("as told",))


def _text(prompt: Prompt) -> str:
    return "".join(s.text for s in prompt.segments if isinstance(s, TextSegment))


def _ids(prompt: Prompt) -> list[str]:
    return [s.record_id for s in prompt.segments if isinstance(s, TextSegment) and s.record_id]


def test_none_shows_no_history_and_asks_the_plain_question() -> None:
    prompt = find("none")(Task("How are you?"), View(HISTORY))
    assert (_ids(prompt), _text(prompt)) == ([], "How are you?")


def test_rag_shows_what_the_search_found_the_best_beside_the_question() -> None:
    view = View(HISTORY)
    prompt = find("rag")(Task("Where is the key?"), view)
    assert view.queries == ["Where is the key?"]
    assert _ids(prompt) == ["r3", "r2", "r1", "r0"]
    assert "Where is the key?" in prompt.segments[-1].text


def test_recent_shows_the_newest_whatever_the_question() -> None:
    view = View(HISTORY)
    assert set(_ids(find("recent")(Task("Anything"), view))) == {"r5", "r6", "r7", "r8"}
    assert not view.queries


@pytest.mark.parametrize("name", sorted(STRATEGIES))
@pytest.mark.parametrize("kind", [kind for kind in TASK_KINDS if kind != "instruction"])
def test_an_empty_history_leaves_the_task_as_none_has_it(name: str, kind: str) -> None:
    task = Task("Some words", kind=kind)
    assert _text(find(name)(task, View([]))) == _text(find("none")(task, View([])))


@pytest.mark.parametrize(
    ("kind", "body", "title"),
    [
        ("title", "Text", "Title"),
        ("subject", "Message", "Subject"),
        ("headline", "Article", "Headline"),
        ("rating", "Review", "Rating"),
        ("tag", "Text", "Tag"),
    ],
)
def test_titles_are_shown_in_the_form_that_the_answer_is_opened_in(
    kind: str, body: str, title: str
) -> None:
    prompt = find("rag")(Task("A body", kind=kind), View(HISTORY[:1]))
    assert f"{body}: text 0\n{title}: title 0" in _text(prompt)
    assert _text(prompt).endswith(f"{body}: A body")
    assert prompt.opening == f"{title}:"
    assert find("none")(Task("A body", kind=kind), View([])).opening == f"{title}:"


def test_a_task_may_have_a_sentence_of_its_own() -> None:
    task = Task("A body", kind="tag", instruction="Is it tea or boats?")
    assert "Is it tea or boats?\n\nText: A body" in _text(find("none")(task, View([])))


@pytest.mark.parametrize(("kind", "instruction"), [("instruction", ""), ("answer", "Shout.")])
def test_an_instruction_goes_where_there_is_something_to_be_done(
    kind: str, instruction: str
) -> None:
    with pytest.raises(InputError, match="instruction"):
        Task("A body", kind=kind, instruction=instruction)


@pytest.mark.parametrize("kind", ["answer", "reply"])
def test_other_answers_begin_as_they_like(kind: str) -> None:
    assert find("rag")(Task("A body", kind=kind), View(HISTORY)).opening == ""


def test_a_free_instruction_stands_in_the_prompt() -> None:
    task = Task("Bonjour", kind="instruction", instruction="Translate this.")
    assert "Translate this." in _text(find("rag")(task, View(HISTORY)))


def test_a_long_record_is_shortened_at_a_word() -> None:
    long = Record("word " * 1000, id="long")
    (shown,) = [s for s in find("rag")(Task("q"), View([long])).segments if s.record_id]
    assert len(shown.text) < 1300
    assert shown.text.rstrip().endswith("word …")


def test_earlier_turns_are_carried_over() -> None:
    turns = (("user", "hello"), ("assistant", "good day"))
    assert find("rag")(Task("And now?", turns=turns), View(HISTORY)).turns == turns


def test_the_cache_goes_with_every_strategy_and_leaves_its_prompt_as_it_is() -> None:
    task = Task("Where is the key?")
    for name in STRATEGIES:
        alone = find(name)(task, View(HISTORY))
        both = find(f"{name}+cache")(task, View(HISTORY))
        assert (alone.bias, _text(both), both.turns) == (None, _text(alone), alone.turns)
        assert isinstance(both.bias, Nudge)
        assert both.constant == alone.constant
    assert find("rag+cache")(task, View([])).bias is None
    view = View(HISTORY)
    find("rag+cache")(task, view)
    assert not view.has_persona


def _soft(prompt: Prompt) -> SoftSegment:
    (segment,) = (s for s in prompt.segments if isinstance(s, SoftSegment))
    return segment


@pytest.mark.parametrize("name", sorted(STRATEGIES))
@pytest.mark.parametrize(("persona", "mode"), [("pplug", 2), ("pplug-soft", 0)])
def test_a_persona_stands_behind_the_question_of_every_strategy(
    name: str, persona: str, mode: int
) -> None:
    task = Task("Where is the key?", kind="title")
    alone = find(name)(task, View(HISTORY))
    both = find(f"{persona}+{name}")(task, View(HISTORY))
    assert both.segments[:-1] == alone.segments
    assert _soft(both) is both.segments[-1]
    assert _soft(both).vectors.tolist() == [[mode, name != "none"]]
    assert (both.system, both.opening, both.constant) == (
        alone.system,
        alone.opening,
        alone.constant,
    )
    shown = persona == "pplug"
    assert _soft(both).records == (("r0",) if shown else ())
    assert both.notes == (("as told",) if shown else ())


@pytest.mark.parametrize("name", sorted(STRATEGIES))
def test_a_mean_persona_stands_in_front_where_it_is_kept_read(name: str) -> None:
    task = Task("Where is the key?", kind="title")
    alone = find(name)(task, View(HISTORY))
    both = find(f"mean+{name}")(task, View(HISTORY))
    assert both.segments[1:] == alone.segments
    assert _soft(both) is both.segments[0]
    assert _soft(both).vectors.tolist() == [[1, name != "none"]]
    assert both.constant == alone.constant + 1
    assert (_soft(both).records, both.notes) == (("r0",), ("as told",))


@pytest.mark.parametrize("name", sorted(PERSONAS))
def test_beside_a_history_without_records_the_persona_stands_alone(name: str) -> None:
    prompt = find(f"{name}+rag")(Task("q", kind="title"), View([]))
    assert _soft(prompt).vectors[0, 1] == 0


def test_a_mixture_is_of_a_persona_and_records_and_leaves_the_prompt_as_it_is() -> None:
    task = Task("q", kind="title")
    alone = find("pplug+rag")(task, View(HISTORY))
    for name in ("pplug+rag+mixture", "mixture+rag+cache+pplug"):
        both = find(name)(task, View(HISTORY))
        assert both.segments[:-1] == alone.segments[:-1]
        assert (alone.mixed, both.mixed) == (False, True)
    assert not find("pplug+rag+mixture")(task, View([])).mixed


@pytest.mark.parametrize("name", ["mixture", "rag+mixture", "pplug+mixture", "pplug+none+mixture"])
def test_a_mixture_of_less_is_refused(name: str) -> None:
    with pytest.raises(InputError, match=r"needs both, as in pplug\+rag\+mixture"):
        find(name)


@pytest.mark.parametrize("name", sorted(ADDITIONS.keys() - {MIXTURE}))
def test_an_addition_alone_goes_with_no_history_shown(name: str) -> None:
    prompt = find(name)(Task("How are you?"), View(HISTORY))
    assert (_ids(prompt), _text(prompt)) == ([], "How are you?")


def test_parts_may_come_in_any_order() -> None:
    for name in ("pplug+rag", "rag+pplug", "cache+rag+pplug"):
        view = View(HISTORY)
        prompt = find(name)(Task("q"), view)
        assert _ids(prompt) == ["r3", "r2", "r1", "r0"]
        assert _soft(prompt) is prompt.segments[-1]
        assert (prompt.bias is not None) == ("cache" in name)
        assert view.shown == ([*_ids(prompt), "r0"] if "cache" in name else [])
        assert view.has_persona == ("cache" in name)


@pytest.mark.parametrize(
    ("name", "why"),
    [
        ("cloud", "strategy 'cloud' is not known"),
        ("", "strategy '' is not known"),
        ("rag+cloud", r"strategy 'cloud' in 'rag\+cloud' is not known"),
        ("rag+", r"strategy '' in 'rag\+' is not known"),
        ("rag+cache+cache", "names 'cache' twice"),
        ("rag+rag", "names 'rag' twice"),
        ("none+rag", "has two parts that write a prompt"),
        ("pplug+rag+mean", "has two parts that make a persona"),
        ("rag + cache", r"'rag ' in 'rag \+ cache' is not known"),
    ],
)
def test_what_is_no_strategy_is_named_with_those_there_are(name: str, why: str) -> None:
    known = (
        r"; expected one of none, recent, rag, "
        r"and with \+ any of pplug, pplug-soft, mean, mixture, cache"
    )
    with pytest.raises(InputError, match=why + known):
        find(name)


@pytest.mark.parametrize("strategy", ["none", "rag", "pplug", "rag+cache"])
@pytest.mark.parametrize("kind", [kind for kind in TASK_KINDS if kind != "instruction"])
def test_only_what_is_written_anew_for_a_text_is_to_be_brief(strategy: str, kind: str) -> None:
    prompt = find(strategy)(Task("some text", kind=kind), View(HISTORY))
    assert prompt.brief == (kind in ("title", "subject", "headline"))
