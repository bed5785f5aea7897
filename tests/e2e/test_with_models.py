"""The whole way on a real bundle: files in, search, answers, and what goes wrong between."""

from __future__ import annotations

import json
import os
import re
import shutil
import signal
import subprocess
import sys
from dataclasses import replace
from itertools import count
from pathlib import Path

import pytest

from edgepersona.bundle import Bundle

NOTES = {
    "tea": "I drink my tea at four in the afternoon, with a slice of lemon.",
    "bike": "The bicycle squeaks at the rear wheel; the bearing wants grease.",
    "trip": "We took the night train to Lisbon and slept badly.",
}
COUNT = 1500


@pytest.fixture
def notes(tmp_path: Path) -> Path:
    path = tmp_path / "notes.jsonl"
    lines = [json.dumps({"id": name, "text": text}) for name, text in NOTES.items()]
    path.write_text("\n".join(lines) + "\n")
    return path


@pytest.fixture
def filled(equipped, notes):
    assert equipped("import", notes).status == 0
    return equipped


def test_import_search_ask_forget(filled, tmp_path):
    hits = filled("search", "bicycle noise", "--json").json["hits"]
    assert hits[0]["id"] == "bike"
    ask = ("ask", "What do I drink at four?", "--temperature", "0", "--max-new-tokens", "8")
    first, again = filled(*ask, "--json").json, filled(*ask, "--json").json
    assert first["text"] == again["text"] != ""
    assert "tea" in first["records"]
    assert 1 <= first["new_tokens"] <= 8
    streamed = filled(*ask)
    assert streamed.out == f"{first['text']}\n"
    assert re.fullmatch(r"\[rag · 3 records · \d+ prompt tokens · .*\]\n", streamed.err)
    assert filled("forget", "tea").status == 0
    assert "tea" not in [hit["id"] for hit in filled("search", "tea", "--json").json["hits"]]
    assert os.listdir(filled.home) == []
    assert {path.name for path in (tmp_path / "data").iterdir()} == {"profiles"}


def test_a_second_run_finds_the_head_of_its_prompt_read(filled):
    ask = ("ask", "What do I drink at four?", "--seed", "5", "--max-new-tokens", "8", "--json")
    first, again = filled(*ask).json, filled(*ask).json
    assert first["reused_tokens"] == 0 < again["reused_tokens"] < again["prompt_tokens"]
    if first["provider"].startswith("native"):
        assert again["text"] == first["text"]
    assert filled("add", "something new").status == 0
    assert filled(*ask).json["reused_tokens"] == 0


def test_a_persona_answers_from_titles_and_follows_the_records(equipped, bundle):
    if Bundle.open(bundle).persona_head is None:
        pytest.skip("this bundle has no persona head")
    ask = ("ask", "Mooring lines chafe at the jetty.", "--task", "title", "--temperature", "0")
    ask = (*ask, "--max-new-tokens", "8", "--json", "--strategy")
    assert equipped("add", "a note without a title").status == 0
    cold = equipped(*ask, "pplug").json
    assert (cold["records"], len(cold["notes"])) == ([], 1)
    added = [
        equipped("add", text, "--title", title, "--id", title[:4])
        for title, text in (
            ("Rope on the jetty", "The mooring line is worn through."),
            ("Tea at four", "I drink my tea with a slice of lemon."),
        )
    ]
    assert [ended.status for ended in added] == [0, 0]
    told = equipped(*ask, "pplug").json
    assert (told["records"], told["notes"]) == (["Tea ", "Rope"], [])
    assert cold["prompt_tokens"] < told["prompt_tokens"]
    both, mean = (equipped(*ask, strategy).json for strategy in ("pplug+rag+cache", "mean"))
    assert both["prompt_tokens"] > told["prompt_tokens"]
    again = equipped(*ask, "mean").json
    assert mean["reused_tokens"] == 0 < again["reused_tokens"]
    assert equipped("forget", "Rope").status == 0
    assert equipped(*ask, "pplug").json["records"] == ["Tea "]


def test_an_answer_to_a_schema_is_json(filled, tmp_path):
    pytest.importorskip("llguidance", reason="schema extra is not installed")
    schema = tmp_path / "schema.json"
    schema.write_text(
        json.dumps(
            {
                "type": "object",
                "properties": {"drink": {"enum": ["tea", "coffee"]}, "hour": {"type": "integer"}},
                "required": ["drink", "hour"],
                "additionalProperties": False,
            }
        )
    )
    ended = filled("ask", "What do I drink, and when?", "--schema", schema, "--temperature", "0")
    assert ended.status == 0, ended.err
    answer = json.loads(ended.out)
    assert answer["drink"] in {"tea", "coffee"}
    assert isinstance(answer["hour"], int)
    schema.write_text('{"type": "strin"}')
    assert "Invalid type: strin" in filled("ask", "What?", "--schema", schema).error


def test_copying_is_drafted_and_comes_out_as_without_drafts(bundle):
    from edgepersona.bundle import Bundle
    from edgepersona.generator import Generator
    from edgepersona.prompt import Prompt, TextSegment
    from edgepersona.sampling import SamplingParams

    generator = Generator(Bundle.open(bundle))
    # Every pass takes as long: whether a draft pays here must not hang on this machine's speed.
    generator.costs.clock = count().__next__
    asked = f"Repeat word for word: {' '.join(NOTES.values())}"
    prompt = Prompt("You are a helpful assistant.", (TextSegment(asked),))
    for temperature in (0.0, 0.7):
        params = SamplingParams(max_new_tokens=60, temperature=temperature, seed=1)
        answers = []
        for drafts in (False, True, True):
            stream = generator.stream(prompt, replace(params, drafts=drafts))
            answers.append("".join(stream))
        if stream.result.provider.startswith("native"):
            assert len(set(answers)) == 1
            assert stream.result.accepted > 0


def test_compare_and_chat(filled):
    sampling = ("--max-new-tokens", "4", "--seed", "1")
    compared = filled("ask", "When do I drink tea?", "--compare", "none,rag", *sampling)
    assert re.findall("^== (.*)$", compared.out, re.MULTILINE) == ["none", "rag"]
    assert len(re.findall(r"tokens/s, first token after", compared.out)) == 2
    prompt = filled("ask", "When is tea?", "--show-prompt", *sampling).err
    assert NOTES["tea"] in prompt
    chat = filled("chat", *sampling, stdin=b"Hello.\n\xff\n/forget-turns\nAnd tea?\n")
    assert chat.status == 1
    assert "line 2 of stdin is not UTF-8" in chat.err
    assert chat.err.count("[rag · ") == 2


def test_doctor_finds_all_well(filled):
    found = filled("doctor", "--json")
    assert (found.status, found.json["problems"]) == (0, [])
    assert found.json["onnxruntime"]["telemetry"] == "off"
    assert found.json["plan"]["generator"]["provider"].startswith("native ")
    assert all(check["passed"] for check in found.json["bundle"]["verification"])
    assert filled("doctor").out.endswith("all is well\n")


def test_import_skips_the_bad_and_keeps_the_good(equipped, tmp_path):
    path = tmp_path / "mixed.jsonl"
    long = json.dumps({"text": "x" * ((1 << 20) + 1)}).encode()
    lines = [
        b'{"text": ""}',
        b'{"text": "a\\u0000b"}',
        b'{"text": "caf\xe9"}',
        long,
        b'{"text": "fine"}',
        b'{"text": "cut',
    ]
    path.write_bytes(b"\n".join(lines))
    ended = equipped("import", path, "--json")
    assert (ended.status, ended.json["added"], ended.json["skipped"]) == (0, 1, 5)
    assert [f"line {i}:" in ended.err for i in (1, 2, 3, 4, 5, 6)] == [True] * 4 + [False, True]


def test_import_refuses_unknown_types_of_file(equipped, tmp_path):
    photo = tmp_path / "photo.png"
    photo.write_bytes(b"\x89PNG\r\n\x1a\n\0\0\0\xff")
    assert "unknown type of file" in equipped("import", photo).error
    assert "no-such" in equipped("import", tmp_path / "no-such").error


def test_a_bundle_with_one_changed_byte_is_refused_by_name(equipped, notes, bundle, tmp_path):
    changed = tmp_path / "bundle"
    shutil.copytree(bundle, changed, copy_function=_link)
    file = min(
        (file for file in (changed / "embedder").rglob("*") if file.is_file()),
        key=lambda file: file.stat().st_size,
    )
    data = bytearray(file.read_bytes())
    data[len(data) // 2] ^= 1
    file.unlink()
    file.write_bytes(data)
    name = file.relative_to(changed).as_posix()
    found = equipped("doctor", "--json", "--bundle", changed)
    assert any(f"{name} is damaged" in problem for problem in found.json["problems"])
    assert found.json["bundle"]["files_damaged"] == 1
    file.write_bytes(data[:-1])
    assert f"{name} has " in equipped("import", notes, "--bundle", changed).error


def test_the_default_bundle_needs_no_onnxruntime(equipped, tmp_path):
    stub = tmp_path / "stub"
    stub.mkdir()
    (stub / "onnxruntime.py").write_text("raise ImportError('not here')")
    path = f"{stub}{os.pathsep}{equipped.env['PYTHONPATH']}"
    assert equipped("add", "tea", PYTHONPATH=path).status == 0
    assert "tea" in equipped("search", "tea", PYTHONPATH=path).out


def test_an_encrypted_profile_opens_with_its_key_alone(equipped, tmp_path):
    secret = "lemon in the afternoon"
    assert equipped("add", secret, EDGEPERSONA_KEY="right").status == 0
    assert "wrong key" in equipped("search", "tea", EDGEPERSONA_KEY="wrong").error
    assert "needs a key" in equipped("search", "tea").error
    assert secret in equipped("search", "tea", EDGEPERSONA_KEY="right").out
    files = (file for file in (tmp_path / "data").rglob("*") if file.is_file())
    assert not any(secret.encode() in file.read_bytes() for file in files)


@pytest.mark.skipif(sys.platform == "win32", reason="needs a pseudo-terminal")
def test_import_goes_on_after_an_interrupt(equipped, tmp_path):
    path = tmp_path / "many.jsonl"
    lines = (json.dumps({"id": f"n{i}", "text": f"Note {i} on tea."}) for i in range(COUNT))
    path.write_text("\n".join(lines) + "\n")
    status, said = _interrupt_when(rf"(\d+)/{COUNT}", 200, equipped, "import", path)
    assert status == 1
    found = re.search(r"error: interrupted; ([\d,]+) records are stored", said)
    assert found is not None, said
    kept = int(found[1].replace(",", ""))
    assert 64 <= kept < COUNT
    assert equipped("profile", "show", "--json").json["records"] == kept
    report = equipped("import", path, "--json").json
    assert (report["added"], report["unchanged"]) == (COUNT - kept, kept)
    listed = equipped("profile", "list", "--json").json["records"]
    assert sorted(record["id"] for record in listed) == sorted(f"n{i}" for i in range(COUNT))


def test_an_interrupted_answer_keeps_what_came(filled):
    endless = ("--max-new-tokens", "3000", "--temperature", "1.5", "--top-p", "1")
    process = filled.start("ask", "Tell me a long story.", "--strategy", "none", *endless)
    first = process.stdout.read(1)
    process.send_signal(signal.SIGINT)
    out, err = process.communicate()
    assert process.returncode == 1
    assert (first + out).endswith(b"\n")
    assert err.decode().splitlines()[-1] == (
        "edgepersona: error: interrupted; the answer ends early"
    )


def test_the_assistant_example_answers(equipped, notes, tmp_path):
    example = Path(__file__).parents[2] / "examples" / "assistant.py"
    ended = subprocess.run(
        [
            sys.executable,
            example,
            tmp_path / "assistant.db",
            equipped.env["EDGEPERSONA_BUNDLE"],
            notes,
        ],
        input=b"When is tea?\n\n",
        env=equipped.env,
        capture_output=True,
        check=False,
    )
    assert (ended.returncode, ended.stderr) == (0, b"")
    assert len(ended.stdout) > len(b"3 records\n> ")


def _link(source: str, target: str) -> None:
    """Copy by a link: a bundle is large, and only one of its files is to change."""
    try:
        os.link(source, target)
    except OSError:  # the bundle is on another disk
        shutil.copy2(source, target)


def _interrupt_when(pattern: str, least: int, program, *argv) -> tuple[int, str]:
    """Press Ctrl-C when a number that the program shows on its terminal reaches ``least``."""
    import pty
    import termios

    terminal, its_end = pty.openpty()
    termios.tcsetwinsize(its_end, (24, 100))
    process = program.start(*argv, stdin=subprocess.DEVNULL, stderr=its_end)
    os.close(its_end)
    said, pressed = "", False
    while True:
        try:
            piece = os.read(terminal, 1 << 16)
        except OSError:  # Linux: the other end was closed
            break
        if not piece:
            break
        said += piece.decode(errors="replace")
        reached = max(map(int, re.findall(pattern, said)), default=0)
        if not pressed and reached >= least:
            process.send_signal(signal.SIGINT)
            pressed = True
    os.close(terminal)
    assert pressed, said
    process.communicate()
    return process.returncode, said
