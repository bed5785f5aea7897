"""Build the two extensions; everything else is in pyproject.toml."""

import os
import sys
import tomllib
from pathlib import Path

import pybind11
from setuptools import Extension, setup
from setuptools.command.build_ext import build_ext

ROOT = Path(__file__).parent
VERSION = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]["version"]

# No -march: each kernel names its own instruction set, and the choice is made at load.
FLAGS = ["-O3", "-g0", "-std=c++17", "-Wall", "-Wextra", "-fvisibility=hidden"]
LINK = []

SANITIZE = os.environ.get("EDGEPERSONA_SANITIZE")  # what -fsanitize takes: tests/run_sanitized.py
if SANITIZE:
    LINK += [f"-fsanitize={SANITIZE}"]
    FLAGS += [*LINK, "-fno-sanitize-recover=all", "-fno-omit-frame-pointer", "-O1", "-g1"]
    FLAGS += ["-UNDEBUG", "-D_GLIBCXX_ASSERTIONS"]  # also what the library can check by itself

if sys.platform == "darwin":  # aligned new and shared_mutex
    os.environ.setdefault("MACOSX_DEPLOYMENT_TARGET", "11.0")


def sources(*patterns: str) -> list[str]:
    """List files as setuptools wants them: relative, with forward slashes, in a fixed order."""
    found = (path for pattern in patterns for path in ROOT.glob(pattern))
    return sorted(path.relative_to(ROOT).as_posix() for path in found)


class BuildExt(build_ext):
    """build_ext that keeps what Cython writes out of the sources."""

    def finalize_options(self) -> None:
        self.cython_c_in_temp = True
        super().finalize_options()


native = Extension(
    "edgepersona._native",
    sources("native/src/*.cpp", "native/bindings/*.cpp"),
    include_dirs=["native/include", "native/bindings", pybind11.get_include()],
    depends=sources("native/include/edgepersona/*.h", "native/src/*.h", "native/bindings/*.h"),
    define_macros=[("EDGEPERSONA_VERSION", f'"{VERSION}"')],
    extra_compile_args=list(FLAGS),
    extra_link_args=list(LINK),
    language="c++",
)
sampling = Extension(
    "edgepersona._sampling",
    ["native/sampling/_sampling.pyx"],
    include_dirs=["native/sampling"],
    depends=sources("native/sampling/*.h"),
    extra_compile_args=[*FLAGS, "-ffp-contract=off"],  # the same tokens by every instruction set
    extra_link_args=list(LINK),
    language="c++",
)

setup(
    ext_modules=[native, sampling],
    cmdclass={"build_ext": BuildExt},
)
