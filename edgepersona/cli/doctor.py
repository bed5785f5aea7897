"""``edgepersona doctor``: what is installed, what is broken, and what to do about it."""

from __future__ import annotations

import os
import platform
import sys
import time
from collections.abc import Callable
from contextlib import closing, suppress
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from edgepersona import __version__
from edgepersona.cli.options import (
    add_bundle_option,
    add_command,
    add_json_option,
    add_profile_options,
    bundle_path,
    open_store,
    read_key,
)
from edgepersona.cli.terminal import note, one_line, say, say_json
from edgepersona.errors import BundleError, EdgePersonaError

if TYPE_CHECKING:
    import argparse

    from edgepersona.bundle import Bundle
    from edgepersona.cli.options import Commands
    from edgepersona.decoder import Decoder
    from edgepersona.manifest import Variant


@dataclass(slots=True)
class Findings:
    """What was found, by section, and the problems, each with what to do."""

    sections: dict[str, dict[str, Any]] = field(default_factory=dict)
    problems: list[str] = field(default_factory=list)


def register(commands: Commands) -> None:
    """Add the command."""
    parser = add_command(
        commands,
        "doctor",
        _run,
        summary="check the installation, the bundle and the profile",
        example="edgepersona doctor",
    )
    add_profile_options(parser)
    add_bundle_option(parser)
    parser.add_argument(
        "--warm",
        action="store_true",
        help="build TensorRT's engines for this GPU, which takes minutes, and keep them",
    )
    add_json_option(parser)


def _run(args: argparse.Namespace) -> int:
    found = Findings()
    bundle: list[Bundle] = []
    _look(found, "versions", _versions)
    _look(found, "native", _native)
    _look(found, "onnxruntime", _onnxruntime)
    _look(found, "bundle", lambda: _bundle(args, found, bundle))
    if bundle and args.warm:
        _warm(bundle[0], found)
    if bundle:
        _look(found, "plan", lambda: _plan(bundle[0], found))
    _look(found, "profile", lambda: _profile(args, found, bundle))
    if args.json:
        say_json({"ok": not found.problems, "problems": found.problems, **found.sections})
    else:
        _show(found)
    return 1 if found.problems else 0


def _look(found: Findings, section: str, look: Callable[[], dict[str, Any]]) -> None:
    try:
        found.sections[section] = look()
    except (EdgePersonaError, ImportError, OSError) as error:
        found.sections[section] = {}
        found.problems.append(one_line(error))


def _versions() -> dict[str, Any]:
    import apsw

    return {
        "edgepersona": __version__,
        "python": platform.python_version(),
        "system": f"{platform.system()} {platform.machine()}",
        "numpy": _installed("numpy"),
        "onnxruntime": _installed("onnxruntime") or _installed("onnxruntime-gpu"),
        "tokenizers": _installed("tokenizers"),
        "apsw": apsw.apsw_version(),
        "sqlite": apsw.sqlite_lib_version(),
    }


def _installed(package: str) -> str:
    from importlib import metadata

    try:
        return metadata.version(package)
    except metadata.PackageNotFoundError:
        return ""


def _native() -> dict[str, Any]:
    from edgepersona import _native as core
    from edgepersona import _sampling  # noqa: F401  (that it loads is what is checked)

    return core.build_info()


def _onnxruntime() -> dict[str, Any]:
    from edgepersona.runtime import available_providers, onnxruntime

    # The variable counts when onnxruntime loads: what others have loaded may not have seen it.
    ours = onnxruntime.cache_info().currsize or "onnxruntime" not in sys.modules
    providers = available_providers()
    off = ours and os.environ.get("ORT_DISABLE_TELEMETRY") == "1"
    return {"providers": list(providers), "telemetry": "off" if off else "not known to be off"}


def _bundle(args: argparse.Namespace, found: Findings, opened: list[Bundle]) -> dict[str, Any]:
    from edgepersona.bundle import Bundle

    bundle = Bundle.open(bundle_path(args))
    damaged = 0
    for name in bundle.manifest["files"]:
        try:
            bundle.file(name)
        except BundleError as error:
            damaged += 1
            found.problems.append(one_line(error))
    if not damaged:
        opened.append(bundle)
    return {
        "path": str(bundle.path),
        "format": bundle.manifest["format"],
        "created_by": bundle.manifest.get("created_by", ""),
        "files": len(bundle.manifest["files"]),
        "files_damaged": damaged,
        "embedder_hash": bundle.embedder_hash,
        "generator_hash": bundle.generator_hash,
        "persona_head": _head(bundle, found),
        "verification": bundle.manifest.get("verification", []),
    }


def _head(bundle: Bundle, found: Findings) -> dict[str, Any]:
    """Read the persona head, where the bundle has one."""
    from edgepersona.headfile import read_head

    if bundle.persona_head is None:
        return {}
    try:
        head = read_head(bundle)
    except BundleError as error:
        found.problems.append(one_line(error))
        return {}
    return {"hash": head.hash, "tasks": list(head.shape.tasks), "credits": list(head.credits)}


def _plan(bundle: Bundle, found: Findings) -> dict[str, Any]:
    """Load both models, and say where they run: a provider may be there and not load."""
    from edgepersona.runtime import physical_cores

    plan: dict[str, Any] = {"threads": physical_cores()}
    for name, look in (("embedder", _embedder_plan), ("generator", _generator_plan)):
        try:
            plan[name] = look(bundle)
        except EdgePersonaError as error:
            found.problems.append(one_line(error))
    return plan


def _warm(bundle: Bundle, found: Findings) -> None:
    """Build the engines that are not built yet; what fails is a problem: it was asked for."""
    from edgepersona.variants import variant_name

    variants = [v for v in bundle.generator.variants if v.target == "tensorrt"]
    if not variants:
        found.problems.append(
            f"{bundle.path}: nothing to warm, this bundle has no variant for tensorrt: "
            "export one with --target cpu,tensorrt"
        )
    for variant in variants:
        name = variant_name(variant)
        try:
            _build(bundle, variant, name)
        except EdgePersonaError as error:
            found.problems.append(f"{name}: {one_line(error)}")


def _build(bundle: Bundle, variant: Variant, name: str) -> None:
    from edgepersona.portabledecoder import build_engines, engines

    if engines(bundle, variant).is_warm():
        note(f"{name}: the engines are built")
        return
    started = time.monotonic()
    build_engines(bundle, variant, log=lambda part: note(f"{name}: building the {part} engine"))
    note(f"{name}: built in {time.monotonic() - started:.0f} s")


def _embedder_plan(bundle: Bundle) -> dict[str, Any]:
    from edgepersona.embedder import Embedder
    from edgepersona.providers import PROVIDERS

    spec, embedder = bundle.embedder, Embedder(bundle)
    return {
        "model": spec.source,
        "target": next((t for t, name in PROVIDERS.items() if name == embedder.provider), "cpu"),
        "precision": spec.precision,
        "provider": embedder.provider,
        **({"left_out": embedder.left_out} if embedder.left_out else {}),
    }


def _generator_plan(bundle: Bundle) -> dict[str, Any]:
    """Load every variant, one after the other: each may be asked for by name."""
    from edgepersona.decoder import open_variant
    from edgepersona.variants import candidates, first_that_loads, variant_name

    told: dict[str, str] = {}

    def load(variant: Variant) -> Decoder:
        try:
            decoder = open_variant(bundle, variant)
        except EdgePersonaError as error:
            told[variant_name(variant)] = f"does not run here: {one_line(error)}"
            raise
        told[variant_name(variant)] = f"runs on {decoder.provider}"
        return decoder

    variants = candidates(bundle)
    _, choice = first_that_loads(variants, load)
    for variant in variants:
        if variant_name(variant) not in told:
            with suppress(EdgePersonaError):
                load(variant)
    return {
        "model": bundle.generator.source,
        "target": choice.variant.target,
        "precision": choice.variant.precision,
        "provider": choice.provider,
        "variants": told,
    }


def _profile(args: argparse.Namespace, found: Findings, bundle: list[Bundle]) -> dict[str, Any]:
    with closing(open_store(args)) as store:
        problems = store.integrity_check()
        found.problems += [f"{store.path}: {one_line(p)}: restore a backup" for p in problems]
        if bundle and store.embedder_hash != bundle[0].embedder_hash:
            found.problems.append(
                f"{store.path}: made with embedder {store.embedder_hash[:12]}, this bundle has "
                f"{bundle[0].embedder_hash[:12]}: name that bundle with --bundle"
            )
        return {
            "path": str(store.path),
            "records": store.count(),
            "generation": store.generation,
            "encrypted": read_key(args.key_file) is not None,
            "integrity": "damaged" if problems else "ok",
        }


def _show(found: Findings) -> None:
    for section, facts in found.sections.items():
        say(f"{section}:")
        for name, value in facts.items():
            if name == "verification":
                value = _verification(value)
            say(f"  {name}: {_in_words(value)}")
    say()
    for problem in found.problems:
        say(f"problem: {problem}")
    if not found.problems:
        say("all is well")


def _verification(checks: list[dict[str, Any]]) -> str:
    passed = sum(bool(check["passed"]) for check in checks)
    return f"{passed} of {len(checks)} checks passed at export" if checks else "none stored"


def _in_words(value: Any) -> str:
    if value and isinstance(value, dict):
        return ", ".join(f"{name} {_in_words(v)}" for name, v in value.items())
    if isinstance(value, list | tuple):
        return ", ".join(map(str, value)) or "none"
    return str(value or "none") if isinstance(value, dict | str) else str(value)
