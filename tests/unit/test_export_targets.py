"""Targets and precisions are read as people write them, and what is impossible is named."""

from __future__ import annotations

import pytest

from edgepersona.errors import InputError
from edgepersona_export.targets import PRECISIONS, plan


def _names(targets: str, precisions: str = "") -> list[str]:
    return [build.name for build in plan(targets, precisions)]


@pytest.mark.parametrize("target", PRECISIONS)
def test_a_target_alone_gets_its_own_default(target: str) -> None:
    assert _names(target) == [f"{target}-{PRECISIONS[target][0]}"]


def test_several_targets_are_made_in_the_order_they_are_named_in() -> None:
    assert _names("cuda, cpu") == ["cuda-fp16", "cpu-int8"]


def test_one_precision_goes_to_every_target_that_knows_it() -> None:
    assert _names("cpu,cuda,tensorrt", "int4") == ["cpu-int4", "cuda-int4", "tensorrt-fp16"]


def test_a_target_may_have_a_precision_of_its_own_and_more_than_one() -> None:
    assert _names("cpu,cuda", "cpu=fp32,cuda=fp16,cuda=int4,cuda=fp16") == [
        "cpu-fp32",
        "cuda-fp16",
        "cuda-int4",
    ]


@pytest.mark.parametrize(
    ("targets", "precisions", "told"),
    [
        ("tpu", "", r"'tpu' is not known; there are cpu \(int8, int4, fp32\), cuda"),
        ("", "", "'' is not known"),
        ("cpu,", "", "'' is not known"),
        ("cuda", "int8", r"'int8' is not known for cuda; there are cuda \(fp16, int4\)"),
        ("cpu,cuda", "int3", "'int3' is not known for cpu or cuda"),
        ("cpu,cuda", "cuda=int8", r"'int8' is not known for cuda; there are cuda"),
        ("cpu", "cuda=int4", "cuda is none of --target cpu"),
    ],
)
def test_what_cannot_be_made_names_what_can(targets: str, precisions: str, told: str) -> None:
    with pytest.raises(InputError, match=told):
        plan(targets, precisions)


def test_a_callers_default_stands_where_no_precision_is_named() -> None:
    defaults = {"cpu": "int4"}
    assert [b.name for b in plan("cpu,cuda", defaults=defaults)] == ["cpu-int4", "cuda-fp16"]
    assert [b.name for b in plan("cpu", "int8", defaults=defaults)] == ["cpu-int8"]
