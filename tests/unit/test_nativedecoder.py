"""The native core computes what torch computes on the same weights, however tokens are cut."""

from __future__ import annotations

import os
import subprocess
import sys
import threading
from pathlib import Path

import numpy as np
import pytest

from edgepersona.bundle import Bundle
from edgepersona.decoder import open_decoder
from edgepersona.errors import InputError
from edgepersona.nativedecoder import NativeDecoder, NativeState

torch = pytest.importorskip("torch", reason="export extra is not installed")
pytest.importorskip("transformers", reason="export extra is not installed")

from tests import tiny  # noqa: E402

VOCAB = 259
IDS = [int(i) for i in np.random.default_rng(7).integers(3, VOCAB, 90)]


@pytest.fixture(scope="module", params=["int8", "int4"])
def bundle(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Bundle:
    model = tiny.llama(VOCAB, initializer_range=0.05)
    return tiny.write_bundle(tmp_path_factory.mktemp("bundle"), model, precision=request.param)


@pytest.fixture(scope="module")
def decoder(bundle: Bundle) -> NativeDecoder:
    decoder = open_decoder(bundle, threads=2)
    assert isinstance(decoder, NativeDecoder)
    return decoder


def _whole(decoder: NativeDecoder, ids: list[int] = IDS) -> np.ndarray:
    state = decoder.start(capacity=len(ids))
    return state.extend(decoder.embed(ids), wanted=len(ids))


@pytest.mark.parametrize("sizes", [[90], [1] * 90, [7] * 12 + [6], [16, 1, 33, 2, 38]])
def test_logits_are_the_same_bits_however_tokens_are_cut(
    decoder: NativeDecoder, sizes: list[int]
) -> None:
    state, rows, at = decoder.start(capacity=len(IDS)), [], 0
    for size in sizes:
        rows.append(state.verify(IDS[at : at + size]).copy())
        at += size
    np.testing.assert_array_equal(np.concatenate(rows), _whole(decoder))


def test_only_the_wanted_logits_are_made(decoder: NativeDecoder) -> None:
    whole = _whole(decoder)
    for wanted in (0, 1, 5):
        state = decoder.start(capacity=len(IDS))
        logits = state.extend(decoder.embed(IDS[:80]), wanted=wanted)
        np.testing.assert_array_equal(logits, whole[80 - wanted : 80])
        np.testing.assert_array_equal(state.verify(IDS[80:]), whole[80:])


@pytest.mark.parametrize("threads", [1, 3, 7])
def test_the_number_of_threads_changes_nothing(
    bundle: Bundle, decoder: NativeDecoder, threads: int
) -> None:
    other = open_decoder(bundle, threads=threads)
    assert isinstance(other, NativeDecoder)
    np.testing.assert_array_equal(_whole(other), _whole(decoder))


def test_a_rewound_sequence_goes_on_as_if_nothing_had_followed(decoder: NativeDecoder) -> None:
    state = decoder.start(capacity=len(IDS))
    state.extend(decoder.embed(IDS[:40]), wanted=0)
    state.verify([5, 6, 7, 8, 9])
    state.rewind(40)
    np.testing.assert_array_equal(state.verify(IDS[40:]), _whole(decoder)[40:])
    with pytest.raises(InputError, match="has no first 91"):
        state.rewind(91)


def test_a_saved_sequence_goes_on_elsewhere(decoder: NativeDecoder) -> None:
    first = decoder.start(capacity=64)
    first.extend(decoder.embed(IDS[:50]), wanted=0)
    second = decoder.start(capacity=len(IDS))
    second.load(first.save(37), 37)
    np.testing.assert_array_equal(second.verify(IDS[37:]), _whole(decoder)[37:])
    with pytest.raises(InputError, match="used sequence"):
        second.load(first.save(37), 37)
    with pytest.raises(InputError, match="do not fit this model"):
        decoder.start(capacity=64).load(first.save(37)[:-2], 37)
    with pytest.raises(InputError, match="do not fit this model"):
        decoder.start(capacity=16).load(first.save(37), 37)


def test_a_full_cache_is_refused_before_anything_is_written(decoder: NativeDecoder) -> None:
    state = decoder.start(capacity=30)
    state.extend(decoder.embed(IDS[:30]), wanted=0)
    with pytest.raises(InputError, match="31 tokens do not fit a cache of 30"):
        state.step(5)
    assert state.length == 30


def test_a_context_that_is_full_is_refused(decoder: NativeDecoder) -> None:
    state = decoder.start(capacity=400)
    state.extend(decoder.embed([5] * 256), wanted=0)
    with pytest.raises(InputError, match="do not fit a cache of 256"):
        state.step(5)


def test_sequences_of_several_threads_do_not_touch_each_other(decoder: NativeDecoder) -> None:
    expected, found = _whole(decoder), {}

    def read(number: int) -> None:
        state = decoder.start(capacity=len(IDS))
        found[number] = np.stack([state.step(token).copy() for token in IDS])

    threads = [threading.Thread(target=read, args=(number,)) for number in range(3)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    for logits in found.values():
        np.testing.assert_array_equal(logits, expected)


def test_logits_are_torchs_on_the_same_weights_but_for_rounded_activations(
    tmp_path: Path,
) -> None:
    model = tiny.llama(VOCAB, initializer_range=0.05)
    with torch.no_grad():
        for name, weight in model.named_parameters():
            if weight.ndim == 2:
                weight.copy_(_on_a_grid(name, weight))
    decoder = open_decoder(tiny.write_bundle(tmp_path, model, precision="int8"))
    assert isinstance(decoder, NativeDecoder)
    with torch.inference_mode():
        expected = model(torch.tensor([IDS])).logits[0].numpy()
    ours = _whole(decoder)
    cosine = (ours * expected).sum(1) / np.linalg.norm(ours, axis=1)
    assert (cosine / np.linalg.norm(expected, axis=1)).min() > 0.999


def _on_a_grid(name: str, weight):
    """Return what a weight becomes when it is stored: its rounding is tested elsewhere."""
    from edgepersona_export.quantize import dequantise, quantise_int8

    block = 32 if "embed" in name else 128
    values = weight.numpy()
    return torch.tensor(dequantise(quantise_int8(values, block=block), values.shape[1]))


_PROGRAM = """
import sys
import numpy as np
from edgepersona.bundle import Bundle
from edgepersona.decoder import open_decoder
folder, out, *ids = sys.argv[1:]
decoder = open_decoder(Bundle.open(folder), threads=2)
ids = [int(i) for i in ids]
state = decoder.start(capacity=len(ids))
np.save(out, state.extend(decoder.embed(ids), wanted=len(ids)))
print(decoder.provider)
"""


@pytest.mark.parametrize("simd", ["baseline", "avx2", "avxvnni", "avx512"])
def test_every_instruction_set_gives_the_same_logits(
    bundle: Bundle, decoder: NativeDecoder, tmp_path: Path, simd: str
) -> None:
    # A set that this processor has not is left for the best one: that must do as well.
    out = tmp_path / "logits.npy"
    done = subprocess.run(
        [sys.executable, "-c", _PROGRAM, str(bundle.path), str(out), *map(str, IDS)],
        env={**os.environ, "EDGEPERSONA_SIMD": simd},
        check=True,
        timeout=120,
        stdout=subprocess.PIPE,
        text=True,
    )
    assert done.stdout.strip() in (f"native {simd}", decoder.provider)
    whole = _whole(decoder)
    # A rounding may fall on the other side now and then.
    np.testing.assert_allclose(np.load(out), whole, rtol=0, atol=0.05 * np.abs(whole).max())


def test_a_state_is_one_of_the_decoders(decoder: NativeDecoder) -> None:
    assert isinstance(decoder.start(capacity=1), NativeState)
