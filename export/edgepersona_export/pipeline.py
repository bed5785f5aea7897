"""From two models to a verified bundle, which appears at its place only when it is whole."""

from __future__ import annotations

import os
import shutil
import signal
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

import edgepersona
from edgepersona.bundle import MANIFEST, Bundle, hash_file, write_manifest
from edgepersona.errors import BundleError, ExportError, InputError
from edgepersona_export import generator as generators
from edgepersona_export import verify
from edgepersona_export.gguf_blocks import is_in_4_bits
from edgepersona_export.head_files import stage_default_head
from edgepersona_export.measure import measure
from edgepersona_export.targets import EMBEDDER_PRECISIONS, Build, plan

if TYPE_CHECKING:
    from transformers import PreTrainedModel

    from edgepersona_export.decoder_model import DecoderModel
    from edgepersona_export.embedder import Precision
    from edgepersona_export.quantize import Quantised
    from edgepersona_export.tokenizer import TokenizerInfo

RECIPE = 3
"""Moves when the same models come out as another bundle, so that an old one is made again."""


@dataclass(frozen=True, slots=True)
class ExportOptions:
    """What to export: two models (folder, hub id, or for the LLM a GGUF file), and how."""

    embedder: str | Path
    llm: str | Path
    out: Path
    precision: str = ""
    """Of the LLM, as ``targets.plan`` reads it; empty for each target's default."""
    embedder_precision: Precision = "int8"
    target: str = "cpu"
    """Or several, with commas between."""

    def __post_init__(self) -> None:
        plan(self.target, self.precision)
        if self.embedder_precision not in EMBEDDER_PRECISIONS:
            raise InputError(
                f"embedder precision {self.embedder_precision!r} is not known; "
                f"there are {', '.join(EMBEDDER_PRECISIONS)}"
            )

    def builds(self, llm: Path) -> tuple[Build, ...]:
        """Return the variants to make of the LLM that lies at ``llm``.

        For a processor int8, but of a file that is in 4 bits already: it is kept exactly, and twice
        the bits would be twice the reading for nothing.
        """
        defaults = {"cpu": "int4"} if _keeps_blocks(llm) else {}
        return plan(self.target, self.precision, defaults=defaults)


@dataclass(frozen=True, slots=True)
class Report:
    """What an export measured, and the bundle it published."""

    bundle: Bundle
    checks: tuple[verify.Check, ...]
    not_run: tuple[str, ...] = ()
    """Variants that do not run here, each with what was checked in its place, and why."""

    def table(self) -> str:
        """Lay the checks out for a terminal."""
        return verify.table(self.checks)


def kept_bundle(options: ExportOptions) -> Bundle | None:
    """Return the bundle at ``options.out`` where there is no reason to make it again.

    That is a whole one, unless it came from the same models by another recipe: one that somebody
    made from models of their own is theirs to replace.
    """
    from edgepersona_export.presets import locate

    try:
        bundle = Bundle.open(options.out)
        bundle.verify()
    except BundleError:
        return None
    wanted = _inputs(locate(str(options.embedder)), locate(str(options.llm)), options)
    made_from = bundle.manifest.get("inputs", {})
    same_models = all(made_from.get(part) == wanted[part] for part in ("embedder", "llm"))
    return bundle if made_from == wanted or not same_models else None


def export_bundle(
    options: ExportOptions, *, log: Callable[[str], None] = lambda line: None
) -> Report:
    """Export, verify and publish a bundle at ``options.out``.

    Raises ExportError that says what failed; whatever lay at ``out`` is then untouched. A bundle
    that lay there before is replaced.
    """
    from edgepersona_export.presets import locate

    out = options.out.absolute()
    _check_destination(out)
    embedder, llm = locate(str(options.embedder)), locate(str(options.llm))
    with _staging(out) as stage:
        manifest: dict[str, Any] = {
            "created_by": f"edgepersona {edgepersona.__version__}",
            "inputs": _inputs(embedder, llm, options),
        }
        log(f"embedder: {options.embedder} → {options.embedder_precision}")
        manifest["embedder"] = _stage_embedder(embedder, stage, options)
        log(f"generator: {options.llm} → {', '.join(build.name for build in options.builds(llm))}")
        model = generators.load_torch(llm)
        manifest["generator"] = _stage_generator(llm, model, stage, options, log)
        write_manifest(stage, manifest)
        manifest |= stage_default_head(stage)
        if "persona_head" in manifest:
            log("persona head: the default one for these models")
            write_manifest(stage, manifest)
        log("verifying against torch")
        found = measure(Bundle.open(stage), embedder, model, keeps_blocks=_keeps_blocks(llm))
        verify.require(found.checks)
        manifest["verification"] = [asdict(c) | {"passed": c.passed} for c in found.checks]
        _drop_infinities(manifest["verification"])
        write_manifest(stage, manifest)
        _publish(stage, out)
    return Report(Bundle.open(out), found.checks + found.costs, found.not_run)


def _keeps_blocks(llm: Path) -> bool:
    return llm.suffix == ".gguf" and is_in_4_bits(llm)


def _inputs(embedder: Path, llm: Path, options: ExportOptions) -> dict[str, Any]:
    """Say what a bundle is made from, and how: a change of either asks for a new one."""
    return {
        "recipe": RECIPE,
        "embedder": input_hashes(embedder),
        "llm": input_hashes(llm),
        "precisions": [*(build.name for build in options.builds(llm)), options.embedder_precision],
    }


def input_hashes(source: Path) -> dict[str, str]:
    """Name what a model is made from: each file with its hash."""
    if source.is_file():
        return {source.name: hash_file(source)}
    files = sorted(f for f in source.rglob("*") if f.is_file() and f.suffix != ".pyc")
    return {f.relative_to(source).as_posix(): hash_file(f) for f in files}


def _label(source: Path) -> str:
    """Name a model for people: the file, or the folder and the one it lies in."""
    return source.name if source.is_file() else "/".join(source.parts[-2:])


def _stage_embedder(source: Path, stage: Path, options: ExportOptions) -> dict[str, Any]:
    from edgepersona_export.embedder import export_embedder

    info = export_embedder(source, stage / "embedder", precision=options.embedder_precision)
    return {
        **asdict(info),
        "path": f"embedder/{info.path}",
        "tokenizer": "embedder/tokenizer.json",
        "source": _label(source),
    }


def _stage_generator(
    source: Path,
    model: PreTrainedModel,
    stage: Path,
    options: ExportOptions,
    log: Callable[[str], None],
) -> dict[str, Any]:
    from edgepersona_export.tokenizer import write_tokenizer

    read = generators.read_generator(source, model)
    tokens = write_tokenizer(source, stage / "generator")
    if not tokens.chat_template:
        raise ExportError(f"{source}: has no chat template; an instruction-tuned model is needed")
    builds = options.builds(source)
    in_int4 = any(build.precision == "int4" for build in builds)
    calibrated = _calibrated(read, stage / "generator", tokens, log) if in_int4 else {}
    variants = [
        generators.write_variant(read, stage, build.target, build.precision, calibrated=calibrated)
        for build in builds
    ]
    generators.write_embeddings(read, stage / "generator" / generators.EMBEDDINGS)
    return {
        "source": _label(source),
        "tokenizer": "generator/tokenizer.json",
        "embeddings": f"generator/{generators.EMBEDDINGS}",
        **generators.shape_of(read),
        "chat_template": tokens.chat_template,
        "bos_token": tokens.bos_token,
        "eos_token": tokens.eos_token,
        "stop_tokens": sorted(tokens.stop_ids),
        "variants": variants,
    }


def _calibrated(
    model: DecoderModel, tokenizer: Path, tokens: TokenizerInfo, log: Callable[[str], None]
) -> dict[str, Quantised]:
    """Return the layers' matrices in 4 bits; what a file holds in such is no work."""
    from edgepersona.text import Tokenizer
    from edgepersona_export.calibrated import calibrate
    from edgepersona_export.calibration import token_windows
    from edgepersona_export.native_weights import kept_int4

    kept = kept_int4(model)
    if len(kept) == 4 * len(model.layers):
        return kept
    texts = token_windows(
        Tokenizer(tokenizer / "tokenizer.json").encode,
        first=tokens.bos_id if tokens.add_bos else None,
        positions=model.positions,
    )
    log(f"calibrating int4 on {texts.size:,} tokens")
    return calibrate(model, texts, kept=kept, progress=_every_tenth(log))


def _every_tenth(log: Callable[[str], None]) -> Callable[[int, int], None]:
    def progress(done: int, total: int) -> None:
        if done * 10 // total > (done - 1) * 10 // total:
            log(f"calibrated {done} of {total} matrices")

    return progress


def _check_destination(out: Path) -> None:
    if out.exists() and not (out / MANIFEST).is_file() and not _is_empty_folder(out):
        raise ExportError(f"{out}: exists and is no bundle; name another folder with --out")


def _is_empty_folder(path: Path) -> bool:
    return path.is_dir() and not any(path.iterdir())


@contextmanager
def _staging(out: Path) -> Iterator[Path]:
    """Give a temporary sibling of ``out``, which is gone afterwards whatever happens."""
    out.parent.mkdir(parents=True, exist_ok=True)
    stage = out.parent / f".{out.name}.partial"
    _recover(out)
    # Left by an export that was killed: never taken for whole, so free to be removed.
    shutil.rmtree(stage, ignore_errors=True)
    try:
        stage.mkdir()
        with _terminated_like_interrupted():
            yield stage
    except OSError as error:
        raise ExportError(f"{out}: cannot be written: {error.strerror or error}") from error
    finally:
        shutil.rmtree(stage, ignore_errors=True)


def _publish(stage: Path, out: Path) -> None:
    """Put ``stage`` at ``out`` by renaming; the bundle that lay there goes last."""
    _sync(stage)
    old = _old(out)
    if out.exists():
        out.rename(old)
    try:
        stage.rename(out)
    except OSError:
        if old.exists():
            old.rename(out)
        raise
    _sync_folder(out.parent)
    shutil.rmtree(old, ignore_errors=True)


def _recover(out: Path) -> None:
    """Undo what an export left that was killed between its two renames."""
    old = _old(out)
    if old.exists() and not out.exists():
        old.rename(out)
    shutil.rmtree(old, ignore_errors=True)


def _old(out: Path) -> Path:
    return out.parent / f".{out.name}.old"


def _sync(folder: Path) -> None:
    """Write files through to the disk: after a power cut a renamed folder must not be hollow."""
    for path in [folder, *folder.rglob("*")]:
        if path.is_dir():
            _sync_folder(path)
        else:
            path.chmod(0o644)  # onnx writes its weights for their owner alone
            with path.open("rb") as stream:
                os.fsync(stream.fileno())


def _sync_folder(folder: Path) -> None:
    if os.name == "posix":  # elsewhere a folder cannot be opened, and needs no sync
        descriptor = os.open(folder, os.O_RDONLY)
        try:
            os.fsync(descriptor)
        finally:
            os.close(descriptor)


@contextmanager
def _terminated_like_interrupted() -> Iterator[None]:
    """Let SIGTERM end an export the way Ctrl-C does, so that the staging folder goes too."""
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    previous = signal.signal(signal.SIGTERM, signal.default_int_handler)
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, previous)


def _drop_infinities(checks: list[dict[str, Any]]) -> None:
    """A check without a bound says so with None: JSON knows no infinity."""
    for check in checks:
        if not np.isfinite(check["bound"]):
            check["bound"] = None
