"""The native core computes what torch computes on the same weights, however tokens are cut."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from edgepersona.bundle import Bundle, write_manifest
from edgepersona.decoder import open_decoder
from edgepersona.errors import BundleError, InputError
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


def test_no_tokens_give_no_logits(decoder: NativeDecoder) -> None:
    state = decoder.start(capacity=4)
    assert state.verify([]).shape == (0, VOCAB)
    assert state.extend(decoder.embed([]), wanted=0).shape == (0, VOCAB)
    assert state.length == 0


def test_a_width_that_fills_no_blocks_is_read(tmp_path: Path) -> None:
    model = tiny.llama(VOCAB, hidden_size=72, head_dim=16, initializer_range=0.05)
    decoder = open_decoder(tiny.write_bundle(tmp_path, model, precision="int8"))
    assert isinstance(decoder, NativeDecoder)
    logits = _whole(decoder)
    assert np.isfinite(logits).all()
    state = decoder.start(capacity=len(IDS))
    np.testing.assert_array_equal(np.stack([state.step(i).copy() for i in IDS]), logits)


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
    tiny.put_on_grid(model)
    decoder = open_decoder(tiny.write_bundle(tmp_path, model, precision="int8"))
    assert isinstance(decoder, NativeDecoder)
    with torch.inference_mode():
        expected = model(torch.tensor([IDS])).logits[0].numpy()
    assert tiny.cosines(_whole(decoder), expected).min() > 0.999


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


@pytest.mark.parametrize("simd", ["baseline", "avx2", "avxvnni", "avx512", "avx512bf16"])
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


def _damaged(
    tmp_path: Path, bundle: Bundle, *, index: str | None = None, **cut: int
) -> Callable[[], NativeDecoder]:
    """Copy a bundle with another model.json or shorter files, its manifest made anew."""
    for file in bundle.path.rglob("*"):
        name = file.relative_to(bundle.path)
        if file.is_dir():
            (tmp_path / name).mkdir(parents=True, exist_ok=True)
        elif file.name != "bundle.json":
            (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
            data = file.read_bytes()
            if index is not None and file.name == "model.json":
                data = index.encode(errors="surrogatepass")
            (tmp_path / name).write_bytes(data[: len(data) - cut.get(file.stem, 0)])
    write_manifest(tmp_path, {k: bundle.manifest[k] for k in ("embedder", "generator")})
    damaged = Bundle.open(tmp_path)
    return lambda: NativeDecoder(damaged, damaged.generator.variants[0], threads=1)


def _assert_refused(open_: Callable[[], NativeDecoder], reason: str) -> None:
    with pytest.raises(BundleError, match=r"model\.json: does not describe weights\.bin: ") as e:
        open_()
    assert reason in str(e.value)
    assert "\n" not in str(e.value)


Index = dict[str, Any]
DAMAGES: list[tuple[Callable[[Index], object], str]] = [
    (lambda d: d["layers"][1]["qkv"].update(codes=1 << 40), "a tensor lies outside the file"),
    (lambda d: d["layers"][1]["qkv"].update(codes=10**30), "a tensor lies outside the file"),
    (lambda d: d["layers"][1]["qkv"].update(codes=-64), "a tensor lies outside the file"),
    (lambda d: d["layers"][1]["qkv"].update(scales=3), "a tensor lies outside the file"),
    (lambda d: d["layers"][1]["qkv"].update(rows=64), "qkv is not a matrix of 160 by 96"),
    (lambda d: d["layers"][1]["qkv"].update(columns=128), "qkv"),
    (lambda d: d["layers"][1]["qkv"].update(rows=1 << 39), "a tensor lies outside the file"),
    (lambda d: d["layers"][1]["qkv"].update(rows=-1), "-1 is no size"),
    (lambda d: d["layers"][1]["qkv"].update(rows=160.0), "160.0 is no size"),
    (lambda d: d["layers"][1]["qkv"].update(block=0), "qkv"),
    (lambda d: d["layers"][1]["qkv"].update(bits=16), ""),
    (lambda d: d["layers"][1]["qkv"].update(minima="0"), ""),
    (lambda d: d["layers"][1]["qkv"].pop("codes"), "lacks 'codes'"),
    (lambda d: d["layers"][1].pop("mlp_norm"), "has no mlp_norm"),
    (lambda d: d["layers"][1].update(qkv=3), ""),
    (lambda d: d["layers"][1].update(window="3"), "'3' is no size"),
    (lambda d: d["layers"][1].update(rope=1), "none of the model's"),
    (lambda d: d["layers"].pop(), "layers or positions are not the manifest's"),
    (lambda d: d.update(layers=[]), "layers or positions are not the manifest's"),
    (lambda d: d.update(layers={}), ""),
    (lambda d: d.pop("layers"), "lacks 'layers'"),
    (lambda d: d["final_norm"].update(offset=2), "a tensor lies outside the file"),
    (lambda d: d["final_norm"].update(offset=0.5), ""),
    (lambda d: d["final_norm"].update(shape=[97]), "final_norm has 97 values, expected 96"),
    (lambda d: d["final_norm"].update(shape=[-96]), "a tensor lies outside the file"),
    (lambda d: d["final_norm"].update(shape=[]), "axes"),
    (lambda d: d["final_norm"].update(shape=[1 << 40, 1 << 40]), "a tensor lies outside the file"),
    (lambda d: d["final_norm"].update(shape="96"), ""),
    (lambda d: d["ropes"][0].pop("sin"), "lacks 'sin'"),
    (lambda d: d["ropes"][0]["cos"].update(shape=[128, 16]), "cos"),
    (lambda d: d.update(ropes=[]), "none of the model's"),
    (lambda d: d.update(heads=5), "multiple of kv_heads"),
    (lambda d: d.update(heads=8), "qkv is not a matrix of 192 by 96"),
    (lambda d: d.update(heads=(1 << 60) + 6), "is no size"),
    (lambda d: d.update(hidden=95), "hidden is not the manifest's"),
    (lambda d: d.update(vocab=1), "vocab is not the manifest's"),
    (lambda d: d.update(positions=16), "layers or positions are not the manifest's"),
    (lambda d: d.update(norm_eps=[]), "float"),
    (lambda d: d.update(norm_eps=10**400), "too large"),
    (lambda d: d.update(activation="relu\nsilu"), "activation is 'relu"),
    (lambda d: d.update(activation="\ud800"), ""),
    (lambda d: d.update(activation=None), "activation is 'None'"),
]


@pytest.mark.parametrize(("change", "reason"), DAMAGES)
def test_a_damaged_index_is_a_bundle_error(
    bundle: Bundle, tmp_path: Path, change: Callable[[Index], object], reason: str
) -> None:
    index = json.loads(bundle.file(bundle.generator.variants[0].path).read_bytes())
    change(index)
    _assert_refused(_damaged(tmp_path, bundle, index=json.dumps(index)), reason)


@pytest.mark.parametrize("text", ["", "no JSON", "[]", "3", "null", "[" * 100_000, '{"a": 1}'])
def test_an_index_of_other_text_is_a_bundle_error(
    bundle: Bundle, tmp_path: Path, text: str
) -> None:
    _assert_refused(_damaged(tmp_path, bundle, index=text), "")


def test_weights_that_end_early_are_a_bundle_error(bundle: Bundle, tmp_path: Path) -> None:
    _assert_refused(_damaged(tmp_path, bundle, weights=2), "a tensor lies outside the file")


def test_a_table_of_embeddings_of_another_size_is_a_bundle_error(
    bundle: Bundle, tmp_path: Path
) -> None:
    open_ = _damaged(tmp_path, bundle, embeddings=1)
    with pytest.raises(BundleError, match=r"embeddings\.q8: has not the size of a table") as e:
        open_()
    assert "\n" not in str(e.value)


@pytest.mark.parametrize("name", ["model.json", "weights.bin"])
def test_a_file_that_the_bundle_lacks_is_named(bundle: Bundle, tmp_path: Path, name: str) -> None:
    open_ = _damaged(tmp_path, bundle)
    next(tmp_path.rglob(name)).unlink()
    with pytest.raises(BundleError, match=name):
        open_()
    with pytest.raises(BundleError, match=name):
        Bundle.open(tmp_path)
