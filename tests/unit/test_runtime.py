"""A session runs on the provider that was asked for, or says in one line why it cannot."""

from __future__ import annotations

import sys

import numpy as np
import pytest

from edgepersona import providers, runtime
from edgepersona.errors import BundleError, EdgePersonaError
from edgepersona.gpu import read_gpu
from edgepersona.runtime import Session
from tests.pretend import PretendedOrt

onnx = pytest.importorskip("onnx", reason="export extra is not installed")


@pytest.fixture(scope="module")
def doubling(tmp_path_factory):
    """A graph that gives twice what it is given, and writes its state in place."""
    from onnx import TensorProto, helper

    def info(name):
        return helper.make_tensor_value_info(name, TensorProto.FLOAT, [None])

    nodes = [
        helper.make_node("Add", ["x", "x"], ["y"]),
        helper.make_node("Add", ["past", "x"], ["present"]),
    ]
    graph = helper.make_graph(nodes, "g", [info("x"), info("past")], [info("y"), info("present")])
    file = tmp_path_factory.mktemp("graph") / "model.onnx"
    onnx.save(
        helper.make_model(graph, opset_imports=[helper.make_opsetid("", 20)], ir_version=10), file
    )
    return file


@pytest.fixture
def pretend(monkeypatch):
    """Let the runtime find a machine with a GPU, whose provider loads as told."""
    real = runtime.onnxruntime()

    def set_up(**options):
        ort = PretendedOrt(real, **options)
        monkeypatch.setattr(runtime, "onnxruntime", lambda: ort)
        monkeypatch.setattr(providers, "find_gpu", lambda: None)
        monkeypatch.setattr(providers, "tensorrt_version", lambda: "10.9.0")
        return ort

    return set_up


def test_without_a_gpu_cuda_is_refused_before_onnxruntime_is_asked(doubling, monkeypatch):
    def none():
        raise EdgePersonaError("no NVIDIA GPU: for a test")

    monkeypatch.setattr(providers, "find_gpu", none)
    with pytest.raises(EdgePersonaError, match="no NVIDIA GPU"):
        Session(doubling, target="cuda")


def test_an_onnxruntime_for_the_cpu_names_the_package_to_install(doubling, monkeypatch):
    ort = PretendedOrt(runtime.onnxruntime())
    monkeypatch.setattr(ort, "get_available_providers", lambda: ["CPUExecutionProvider"])
    monkeypatch.setattr(runtime, "onnxruntime", lambda: ort)
    monkeypatch.setattr(providers, "find_gpu", lambda: None)
    with pytest.raises(EdgePersonaError, match=r"without CUDA.*edgepersona\[gpu\]"):
        Session(doubling, target="cuda")


@pytest.mark.parametrize("target", ["cuda", "tensorrt"])
def test_a_session_that_fell_back_in_silence_is_an_error(doubling, pretend, target):
    pretend(loads=("cpu",))
    with pytest.raises(EdgePersonaError, match=r"ExecutionProvider did not load: .*shared\.so"):
        Session(doubling, target=target)


def test_tensorrt_that_is_not_there_is_named(doubling, pretend, monkeypatch):
    version = providers.tensorrt_version
    pretend()
    monkeypatch.setattr(providers, "tensorrt_version", version)
    version.cache_clear()
    with pytest.raises(EdgePersonaError, match="TensorRT 10 is not installed"):
        Session(doubling, target="tensorrt")


def test_a_session_says_what_runs_it_and_where_its_nodes_went(doubling, pretend, capfd):
    pretend()
    session = Session(doubling, target="cuda")
    assert session.provider == "CUDAExecutionProvider"
    assert session.device == "cuda"
    assert session.placement() == {"CUDAExecutionProvider": 2, "CPUExecutionProvider": 1}
    assert capfd.readouterr().out == ""
    assert Session(doubling).provider == "CPUExecutionProvider"


def test_options_reach_the_targets_provider_and_no_other(doubling, pretend):
    ort = pretend()
    Session(doubling, target="tensorrt", options={"trt_engine_cache_enable": True})
    (session,) = ort.sessions
    assert session.options["TensorrtExecutionProvider"] == {
        "device_id": "0",
        "trt_engine_cache_enable": True,
    }
    assert "trt_engine_cache_enable" not in session.options["CUDAExecutionProvider"]


@pytest.mark.parametrize("target", ["cpu", "cuda"])
def test_a_bound_graph_reads_what_its_memory_holds_at_each_run(doubling, pretend, target):
    pretend()
    session = Session(doubling, target=target)
    x, y = np.zeros(3, np.float32), np.zeros(3, np.float32)
    state = session.buffer((3,), session.dtype("past"))
    binding = session.binding()
    binding.bind({"x": x, "past": state}, {"y": y, "present": state})
    for value in (1, 2):
        x[:] = value
        binding.run()
        assert y.tolist() == [2 * value] * 3
    assert state.read().tolist() == [3, 3, 3]
    state.write(np.float32([5, 6, 7]))
    binding.run()
    assert state.read().tolist() == [7, 8, 9]


def test_a_gpu_without_memory_is_an_error_of_ours(doubling, pretend):
    ort = pretend()
    session = Session(doubling, target="cuda")
    binding = session.binding()
    with pytest.raises(EdgePersonaError, match=r"the GPU gave up.*--target cpu"):
        binding.run()  # nothing is bound
    ort.OrtValue = None
    with pytest.raises(EdgePersonaError, match="the GPU gave up"):
        session.buffer((3,), np.dtype(np.float32))


def test_an_array_with_gaps_cannot_be_bound(doubling):
    session = Session(doubling)
    with pytest.raises(ValueError, match="x: only a contiguous array"):
        session.binding().bind({"x": np.zeros((3, 2), np.float32)[:, 0]}, {})


def test_a_file_that_is_no_graph_is_a_damaged_bundle_whatever_the_target(tmp_path, pretend):
    (tmp_path / "model.onnx").write_bytes(b"no graph")
    pretend()
    with pytest.raises(BundleError, match=r"model\.onnx: cannot be loaded"):
        Session(tmp_path / "model.onnx")


class Driver:
    """The driver's library of a machine with one GPU, or none."""

    def __init__(self, *, count=1, status=0):
        self._count, self._status = count, status

    def cuInit(self, flags):  # noqa: N802
        return self._status

    def cuDriverGetVersion(self, version):  # noqa: N802
        version._obj.value = 13000
        return 0

    def cuDeviceGetCount(self, count):  # noqa: N802
        count._obj.value = self._count
        return 0

    def cuDeviceGet(self, device, number):  # noqa: N802
        return 0

    def cuDeviceGetName(self, name, size, device):  # noqa: N802
        name.value = b"NVIDIA Pretend 1"
        return 0

    def cuDeviceTotalMem_v2(self, memory, device):  # noqa: N802
        memory._obj.value = 8 << 30
        return 0

    def cuDeviceGetAttribute(self, value, number, device):  # noqa: N802
        value._obj.value = {36: 1_000_000, 37: 256, 75: 8, 76: 9}[number]
        return 0


def test_a_gpu_is_described_by_its_driver():
    gpu = read_gpu(Driver())
    assert (gpu.name, gpu.capability, gpu.memory_bytes) == ("NVIDIA Pretend 1", (8, 9), 8 << 30)
    assert gpu.bandwidth_bytes_s == 64e9  # 1 GHz, 256 bits, two transfers a clock
    assert gpu.driver == "13.0"


@pytest.mark.parametrize(
    ("driver", "why"),
    [(Driver(count=0), "shows none"), (Driver(status=100), "answers cuInit with error 100")],
)
def test_a_driver_without_a_gpu_is_told_apart_from_a_broken_one(driver, why):
    with pytest.raises(EdgePersonaError, match=why):
        read_gpu(driver)


def test_a_missing_onnxruntime_is_one_line_that_says_how_to_install_it(monkeypatch):
    monkeypatch.setitem(sys.modules, "onnxruntime", None)  # an import of it fails
    with pytest.raises(EdgePersonaError, match=r"run pip install 'edgepersona\[cpu\]'"):
        runtime.onnxruntime.__wrapped__()
