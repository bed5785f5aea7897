"""Measure strategies on LaMP's and LongLaMP's files: own history, another user's, and none."""

from edgepersona.evaluation.benchmarks import BENCHMARKS, Benchmark, find_benchmark
from edgepersona.evaluation.evaluate import Options, evaluate
from edgepersona.evaluation.questions import Question, read_questions

__all__ = [
    "BENCHMARKS",
    "Benchmark",
    "Options",
    "Question",
    "evaluate",
    "find_benchmark",
    "read_questions",
]
