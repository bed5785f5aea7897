from __future__ import annotations

import signal
from dataclasses import replace

import pytest

from edgepersona.prompt import TextSegment
from edgepersona.variants import Refusal

QUESTION = "When is tea?"


@pytest.fixture
def run(run):
    for i in range(6):
        run("add", f"Tea at {i}.", "--id", f"r{i}", "--date", f"2024-05-0{i + 1}")
    return run


def test_ask_writes_the_answer_to_stdout_and_how_it_came_about_to_stderr(run):
    ended = run("ask", QUESTION)
    assert (ended.status, ended.out) == (0, f"{QUESTION}\n")
    assert ended.err == (
        "[rag · 4 records · 3 prompt tokens · 3 tokens, 2.0 tokens/s, first token after 0.25 s]\n"
    )


def test_what_a_strategy_has_to_say_stands_under_the_answer(run, generator):
    generator.notes = ("no history yet: the persona is the head's instruction alone",)
    assert run("ask", QUESTION).err.rstrip("]\n").endswith(f" · {generator.notes[0]}")
    assert run("ask", QUESTION, "--json").json["notes"] == [*generator.notes]


def test_a_strategy_that_the_bundle_cannot_serve_ends_in_one_line(run):
    ended = run("ask", QUESTION, "--task", "title", "--strategy", "pplug")
    assert ended.status == 1
    assert "without a persona head" in ended.error


def test_what_was_left_out_for_the_cpu_is_said_once_before_the_first_answer(run, generator):
    left_out = (Refusal("cuda-fp16", "no NVIDIA GPU"),)
    generator.choice = replace(generator.choice, refusals=left_out)
    told = "runs cpu-int8 on CPUExecutionProvider; left out: cuda-fp16: no NVIDIA GPU\n"
    for argv in (["ask", QUESTION, "--compare", "none,rag"], ["chat"]):
        ended = run(*argv, stdin=b"a\nb\n")
        assert ended.err.startswith(told)
        assert ended.err.count("left out: cuda") == 1
    assert run("ask", QUESTION, "--json").err == told


def test_a_target_is_passed_on_to_the_generator(run, generator):
    run("ask", QUESTION, "--target", "cuda-int4")
    assert generator.target == "cuda-int4"
    run("chat", stdin=b"a\n")
    assert generator.target is None


def test_ask_reads_the_question_from_stdin(run):
    assert run("ask", "-", stdin=b"a b\n").out == run("ask", stdin=b"a b\n").out == "a b\n"


def test_ask_in_json_says_what_was_used(run):
    answer = run("ask", QUESTION, "--strategy", "recent", "--seed", 7, "--json").json
    assert answer["text"] == QUESTION
    assert answer["records"] == ["r2", "r3", "r4", "r5"]  # as they stood: the newest last
    assert (answer["strategy"], answer["seed"], answer["finish_reason"]) == ("recent", 7, "stop")
    assert answer["tokens_per_s"] == 2.0


def test_ask_passes_the_sampling_on(run, generator):
    options = "--max-new-tokens 5 --temperature 0 --top-k 3 --top-p 0.5 --min-p 0.1"
    run("ask", "x", *options.split(), "--repetition-penalty", 1.1, "--stop", "a", "--stop", "b")
    params = generator.params[0]
    assert (params.max_new_tokens, params.temperature, params.top_k) == (5, 0.0, 3)
    assert (params.top_p, params.min_p, params.repetition_penalty) == (0.5, 0.1, 1.1)
    assert params.stop == ("a", "b")
    assert params.seed is None


def test_ask_hands_the_schema_of_a_file_over(run, generator, tmp_path):
    file = tmp_path / "schema.json"
    file.write_text('\ufeff{"type": "object"}')
    assert run("ask", "x", "--schema", file).status == 0
    run("ask", "x")
    assert generator.schemas == [{"type": "object"}, None]
    assert run("ask", "x", "--schema", file, "--stop", "a").status == 2


@pytest.mark.parametrize(
    ("data", "why"),
    [
        (b"{", "is no JSON: Expecting"),
        (b"[" * 100_000, "is no JSON"),
        (b"[]", "holds list, expected a JSON object"),
        (b"\xff", "is not UTF-8"),
        (b" " * ((1 << 20) + 1), "this is no schema"),
        (None, "cannot be read: No such file"),
    ],
)
def test_a_file_without_a_schema_is_refused(run, tmp_path, data, why):
    file = tmp_path / "schema.json"
    if data is not None:
        file.write_bytes(data)
    ended = run("ask", "x", "--schema", file)
    assert ended.status == 1
    assert f"{file}" in ended.error
    assert why in ended.error


@pytest.mark.parametrize(
    ("argv", "said"),
    [(["--task", "title"], "Write the title"), (["--instruction", "Shout."], "Shout.")],
)
def test_ask_takes_a_task(run, generator, argv, said):
    run("ask", "ships", *argv)
    segment = generator.prompts[0].segments[-1]
    assert isinstance(segment, TextSegment)
    assert said in segment.text


def test_compare_answers_with_each_strategy_from_one_seed(run, generator):
    ended = run("ask", QUESTION, "--compare", "none,rag")
    assert [line for line in ended.out.splitlines() if line.startswith("==")] == [
        "== none",
        "== rag",
    ]
    assert ended.out.count("-- 3 tokens, 2.0 tokens/s, first token after 0.25 s") == 2
    assert generator.params[0].seed is not None
    assert generator.params[0].seed == generator.params[1].seed
    answers = run("ask", QUESTION, "--compare", "none,rag", "--json").json["answers"]
    assert [answer["strategy"] for answer in answers] == ["none", "rag"]


@pytest.mark.parametrize(
    ("argv", "stdin", "message"),
    [
        ([""], b"", "is empty"),
        (["-"], b"a\0b", "NUL"),
        (["-"], b"\xff", "not UTF-8"),
        (["-"], b"x" * (1 << 21), "more than 1,048,576 bytes"),
        (["\udcff"], b"", "lone surrogate"),
    ],
)
def test_ask_refuses_what_is_no_question(run, argv, stdin, message):
    ended = run("ask", *argv, stdin=stdin)
    assert (ended.status, ended.out) == (1, "")
    assert message in ended.error


def test_interrupted_answer_keeps_what_came(run, generator):
    generator.interrupt_after = 2
    before = signal.getsignal(signal.SIGINT)
    ended = run("ask", QUESTION)
    assert (ended.status, ended.out) == (1, "When is\n")
    assert "ended by Ctrl-C" in ended.err
    assert ended.err.endswith("edgepersona: error: interrupted; the answer ends early\n")
    assert signal.getsignal(signal.SIGINT) is before
    answer = run("ask", QUESTION, "--json")
    assert (answer.status, answer.json["finish_reason"]) == (1, "cancelled")


def test_interrupt_ends_a_comparison(run, generator):
    generator.interrupt_after = 1
    assert "== rag" not in run("ask", QUESTION, "--compare", "none,rag").out


def test_a_model_cannot_steer_the_terminal(run):
    assert run("ask", "a \x1b[2J b").out == "a \ufffd[2J b\n"


def test_chat_keeps_the_turns(run, generator):
    ended = run("chat", stdin=b"one\n\ntwo\n/forget-turns\nthree\n/help\n/quit\nfour\n")
    assert ended.status == 0
    assert ended.out.startswith("one\ntwo\nthree\n/forget-turns")
    assert [prompt.turns for prompt in generator.prompts] == [
        (),
        (("user", "one"), ("assistant", "one")),
        (),
    ]


def test_chat_goes_on_after_a_line_it_cannot_answer(run):
    long = b"x" * (3 << 20)
    ended = run("chat", stdin=b"a\0b\n\xff\n" + long + b"\n/dance\nfine\nlast")
    assert (ended.status, ended.out) == (1, "fine\nlast\n")
    errors = [line for line in ended.err.splitlines() if "error" in line]
    assert len(errors) == 4
    for error, said in zip(errors, ("NUL", "line 2", "line 3", "/dance"), strict=True):
        assert said in error


def test_interrupt_ends_a_piped_chat(run, generator):
    generator.interrupt_after = 1
    ended = run("chat", stdin=b"one two\nthree\n")
    assert (ended.status, ended.out) == (1, "one\n")
