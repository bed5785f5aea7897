"""Whole answers in a process of its own: of a profile's generator, or of llama.cpp."""

from __future__ import annotations

import json
import os
import sys
import time
from typing import Any

from bench.process import serve
from bench.worker import LlamaCpp


class OfProfile:
    """A profile and its generator, greedy."""

    def __init__(self, bundle: str, profile: str, key: str) -> None:
        from edgepersona.profile import Profile

        self._profile = Profile.open(profile, bundle, key=key)
        self._generator = self._profile._generator.get()

    def answer(self, asked: dict[str, Any]) -> dict[str, Any]:
        """Answer a task; return the text, what it was made from, and the time behind it."""
        from edgepersona.records import Task
        from edgepersona.sampling import SamplingParams

        params = SamplingParams(
            temperature=0.0, max_new_tokens=asked["tokens"], drafts=asked["drafts"]
        )
        stream = self._profile.stream(
            Task(**asked["task"]), strategy=asked["strategy"], params=params
        )
        for _ in stream:
            pass
        result = stream.result
        return {
            "text": result.text,
            "prompt": stream.layout.token_ids,
            "tokens": result.new_tokens,
            "decode_s": result.decode_s,
            "drafted": result.drafted,
            "accepted": result.accepted,
        }

    def first_token(self, asked: dict[str, Any]) -> dict[str, Any]:
        """Answer a question behind a system text that was read before; return how long it took."""
        from edgepersona.prompt import Prompt, TextSegment
        from edgepersona.sampling import SamplingParams

        prompt = Prompt(system=asked["system"], segments=(TextSegment(asked["question"]),))
        stream = self._generator.stream(prompt, SamplingParams(temperature=0.0, max_new_tokens=1))
        for _ in stream:
            pass
        result = stream.result
        return {
            "prompt": stream.layout.token_ids,
            "reused": result.reused_tokens,
            "ttft_s": result.ttft_s,
        }

    def read_alone(self, ids: list[int]) -> float:
        """Return the seconds to the first token of a prompt of these tokens, nothing else."""
        from edgepersona.sampling import Sampler, SamplingParams

        decoder = self._generator.decoder
        started = time.perf_counter()
        state = decoder.start(capacity=len(ids) + 1)
        logits = state.extend(decoder.embed(ids))
        Sampler(SamplingParams(temperature=0.0)).sample(logits[0])
        return time.perf_counter() - started


class OfLlama(LlamaCpp):
    """llama.cpp, greedy, on the tokens of our prompts."""

    def answer(self, asked: dict[str, Any]) -> dict[str, Any]:
        """Answer a prompt as ours is answered: until a stop token, or as many tokens."""
        self.prefill(asked["prompt"])
        started, tokens = time.perf_counter(), 1
        while tokens < asked["tokens"] and self._token not in asked["stops"]:
            self.decode(1)
            tokens += 1
        return {"tokens": tokens, "decode_s": time.perf_counter() - started}

    def first_token(self, asked: dict[str, Any]) -> float:
        """Read the beginning, then return the seconds that the rest takes to its first token."""
        known, rest = asked["prompt"][: asked["reused"]], asked["prompt"][asked["reused"] :]
        self.prefill(known)
        started = time.perf_counter()
        self._llama.eval(rest)
        self._choose()
        return time.perf_counter() - started


PEERS = {"edgepersona": OfProfile, "llama.cpp": OfLlama}

if __name__ == "__main__":
    os.environ["ORT_DISABLE_TELEMETRY"] = "1"
    settings = json.loads(sys.argv[1])
    serve(PEERS[settings.pop("peer")](**settings))
