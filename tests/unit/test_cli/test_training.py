from __future__ import annotations

import json

import pytest

from edgepersona.cli import training
from edgepersona.errors import InputError

pytest.importorskip("torch")

REQUIRED = ("train", "--data", "history.jsonl", "--preset", "default", "--out", "head")


@pytest.fixture
def options(run, monkeypatch):
    """Return what a command line asks of a run, without running it."""

    def of(*argv):
        asked = []
        monkeypatch.setattr(training, "_run", lambda args: asked.append(args) or 0)
        assert run(*REQUIRED, *argv).status == 0
        return training._options(asked[0], asked[0].tasks.split(","))

    return of


def test_the_sizes_of_a_head_are_those_asked_for(options):
    sizes = {
        "--instruction-tokens": ("before", 3),
        "--persona-tokens": ("pooled", 2),
        "--records": ("records", 6),
        "--title-tokens": ("words", 5),
        "--beside": ("beside", "newest"),
        "--records-beside": ("records_beside", 0),
    }
    argv = [part for option, (_, size) in sizes.items() for part in (option, str(size))]
    assert options(*argv).shape == dict(sizes.values())


def test_sizes_that_nobody_names_are_those_of_a_head_by_default(options):
    from edgepersona_export.train.model import Shape

    default = Shape(ndim=1, hidden=1, tasks=("title",))
    shape = options().shape
    assert shape == {name: getattr(default, name) for name in shape}


def test_what_prompts_show_in_words_is_what_is_asked_for(options):
    argv = ("--shown", "0.5", "--shown-records", "4", "--shown-tokens", "200")
    drawing = options(*argv).drawing
    assert (drawing.shown, drawing.shown_records, drawing.shown_tokens) == (0.5, 4, 200)


def test_histories_are_left_out_as_far_as_is_asked_for(options):
    drawing = options("--dropped", "0.2", "--cold", "0.05").drawing
    assert (drawing.dropped, drawing.cold) == (0.2, 0.05)


@pytest.mark.parametrize("share", ["2", "-0.1", "nan"])
@pytest.mark.parametrize("name", ["shown", "dropped", "cold"])
def test_a_share_that_cannot_be_is_refused(options, name, share):
    with pytest.raises(InputError, match=rf"{name} .* is out of range"):
        options(f"--{name}={share}")


def test_what_stands_beside_records_alone_is_learnt_with_records_in_every_prompt(options):
    assert options("--start", "head", "--only-beside").drawing.shown == 1
    assert options("--start", "head", "--only-beside").only_beside


def test_a_share_that_leaves_nothing_to_learn_from_is_refused_not_changed(options):
    with pytest.raises(InputError, match="needs them in every prompt"):
        options("--start", "head", "--only-beside", "--shown", "0.5")


def test_what_prompts_show_in_words_is_by_default_what_a_drawing_has(options):
    from edgepersona_export.train.batches import Drawing

    assert options().drawing == Drawing()


@pytest.fixture
def told(run, monkeypatch):
    """Return what the command says of an outcome."""

    def of(outcome, *argv):
        monkeypatch.setattr(training, "_train", lambda args, tasks: outcome)
        return run(*REQUIRED, *argv).out

    return of


def test_what_people_held_out_say_is_told_with_records_in_the_prompt_and_without(told):
    from edgepersona_export.train.judge import Verdict
    from edgepersona_export.train.run import Outcome

    outcome = Outcome(9, 80, 2.5, Verdict(2.0, 2.5, 16), 60.0, beside=Verdict(1.5, 2.25, 16))
    lines = [line for line in told(outcome).splitlines() if line.startswith("people held out")]
    assert len(lines) == 2
    assert "samples: 2.000 nats" in lines[0]
    assert "-0.500 against" in lines[0]
    assert "samples, records in the prompt: 1.500 nats" in lines[1]
    assert "-0.750 against" in lines[1]
    said = json.loads(told(outcome, "--json"))
    assert said["verdict"] == {"own": 2.0, "other": 2.5, "samples": 16}
    assert said["beside"] == {"own": 1.5, "other": 2.25, "samples": 16}


def test_of_nobody_held_out_nothing_is_told(told):
    from edgepersona_export.train.judge import Verdict
    from edgepersona_export.train.run import Outcome

    outcome = Outcome(9, 80, 2.5, Verdict(), 60.0)
    assert "held out" not in told(outcome)
    said = json.loads(told(outcome, "--json"))
    assert said["verdict"] == said["beside"] == {"samples": 0}
