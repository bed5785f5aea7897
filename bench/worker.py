"""One peer in a process of its own: takes a work a line, answers with how long it took.

A peer that crashes takes only its own process along, and libraries that bring their own thread
pools and allocators do not disturb each other.
"""

from __future__ import annotations

import json
import os
import sys
from typing import Any, Protocol

import numpy as np

from bench.process import serve

CONTEXT = 2048


class Peer(Protocol):
    """What is measured of a generator; all start from an empty cache and choose greedily."""

    def prefill(self, ids: list[int]) -> None:
        """Read a prompt, up to the choice of the first token."""

    def decode(self, n: int) -> None:
        """Make ``n`` more tokens, whichever they are: none ends the answer."""

    def losses(self, ids: list[int]) -> list[float]:
        """Return the negative log-likelihood of each token but the first, in nats.

        Read the way that an answer is made, where that is another one than a prompt's.
        """


class EdgePersona:
    """The bundle's generator, as ``Profile.generate`` runs it, less the turning into text."""

    def __init__(self, bundle: str, threads: int) -> None:
        from edgepersona.bundle import Bundle
        from edgepersona.decoder import open_decoder
        from edgepersona.sampling import Sampler, SamplingParams

        self._decoder = open_decoder(Bundle.open(bundle), threads=threads)
        self._sampler = Sampler(SamplingParams(temperature=0.0))

    def prefill(self, ids: list[int]) -> None:
        self._state = self._decoder.start(capacity=CONTEXT)
        self._token = self._sampler.sample(self._state.extend(self._decoder.embed(ids))[0])

    def decode(self, n: int) -> None:
        for _ in range(n):
            self._token = self._sampler.sample(self._state.step(self._token))

    def losses(self, ids: list[int]) -> list[float]:
        from edgepersona.decoder import log_probs

        return _losses(log_probs(self._decoder, ids, one_by_one=True), ids)

    def prompt_losses(self, ids: list[int]) -> list[float]:
        """Return the same, read at once as a prompt is."""
        from edgepersona.decoder import log_probs

        return _losses(log_probs(self._decoder, ids), ids)


class GenAI:
    """onnxruntime-genai on a graph of its own model builder."""

    def __init__(self, folder: str, threads: int) -> None:
        import onnxruntime_genai as og

        self._og = og
        self._model = og.Model(folder)

    def _start(self) -> None:
        params = self._og.GeneratorParams(self._model)
        params.set_search_options(max_length=CONTEXT, do_sample=False)
        self._generator = self._og.Generator(self._model, params)

    def prefill(self, ids: list[int]) -> None:
        self._start()
        self._generator.append_tokens(np.array(ids, np.int32))
        self._generator.generate_next_token()

    def decode(self, n: int) -> None:
        for _ in range(n):
            self._generator.generate_next_token()

    def losses(self, ids: list[int]) -> list[float]:
        self._start()
        self._generator.append_tokens(np.array(ids, np.int32))
        return _losses(np.asarray(self._generator.get_output("logits"))[0], ids)


class LlamaCpp:
    """llama.cpp on the GGUF file itself, through llama-cpp-python."""

    def __init__(self, file: str, threads: int, *, extra_buffers: bool) -> None:
        import llama_cpp
        import llama_cpp.llama_cpp as low

        if not extra_buffers:
            # Weights repacked for AMX crash some builds on matrices of odd sizes; there is no
            # argument for it, so the defaults it starts from are changed.
            defaults = low.llama_model_default_params

            def plain() -> Any:
                params = defaults()
                params.use_extra_bufts = False
                return params

            low.llama_model_default_params = plain
        self._llama = llama_cpp.Llama(
            file, n_ctx=CONTEXT, n_batch=512, n_threads=threads, n_threads_batch=threads,
            logits_all=False, verbose=False,
        )  # fmt: skip
        self._scorer = None
        self._low, self._file, self._threads = llama_cpp, file, threads

    def _choose(self) -> None:
        logits = self._low.llama_get_logits_ith(self._llama._ctx.ctx, -1)
        self._token = int(np.ctypeslib.as_array(logits, (self._llama.n_vocab(),)).argmax())

    def prefill(self, ids: list[int]) -> None:
        self._llama.reset()
        self._llama.eval(ids)
        self._choose()

    def decode(self, n: int) -> None:
        for _ in range(n):
            self._llama.eval([self._token])
            self._choose()

    def losses(self, ids: list[int]) -> list[float]:
        if self._scorer is None:
            self._scorer = self._low.Llama(
                self._file, n_ctx=512, n_threads=self._threads, logits_all=True, verbose=False
            )
        self._scorer.reset()
        self._scorer.eval(ids)
        return _losses(self._scorer.scores[: len(ids)], ids)


def _losses(logits: np.ndarray, ids: list[int]) -> list[float]:
    logits = logits[: len(ids) - 1].astype(np.float64)
    logits -= logits.max(axis=1, keepdims=True)
    chosen = logits[np.arange(len(ids) - 1), ids[1:]]
    return [float(x) for x in np.log(np.exp(logits).sum(axis=1)) - chosen]


PEERS = {"edgepersona": EdgePersona, "onnxruntime-genai": GenAI, "llama.cpp": LlamaCpp}

if __name__ == "__main__":
    os.environ["ORT_DISABLE_TELEMETRY"] = "1"
    settings = json.loads(sys.argv[1])
    serve(PEERS[settings.pop("peer")](**settings))
