"""Training as a whole: it learns, goes on where it stopped, and is shared by processes."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

pytest.importorskip("torch", reason="export extra is not installed")
pytest.importorskip("accelerate", reason="export extra is not installed")

import torch

from edgepersona.errors import BundleError, InputError
from edgepersona_export.train import log
from edgepersona_export.train.histories import read_corpus
from edgepersona_export.train.loss import own_against_other
from tests import tiny_head, tiny_training

ROOT = Path(__file__).parents[2]

# torch, transformers and accelerate warn of each other's future.
pytestmark = pytest.mark.filterwarnings("default")


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("made")
    tiny_training.write_data(folder / "history.jsonl")
    tiny_training.write_bundle(folder / "bundle")
    return folder


@pytest.fixture
def folder(made: Path, tmp_path: Path) -> Path:
    for name in ("history.jsonl", "bundle"):
        (tmp_path / name).symlink_to(made / name)
    return tmp_path


def losses(folder: Path) -> list[float]:
    return [line["loss"] for line in log.read(folder / "head/training/log.jsonl") if "loss" in line]


def weights(folder: Path) -> dict[str, np.ndarray]:
    return tiny_head.read(folder / "head")[1]


def test_a_run_learns_and_leaves_a_head_a_log_and_a_verdict(folder: Path) -> None:
    outcome = tiny_training.run(folder, epochs=12)
    curve = losses(folder)
    assert len(curve) == outcome.steps
    assert np.mean(curve[-5:]) < np.mean(curve[:5]) - 0.2
    index, arrays = tiny_head.read(folder / "head")
    assert index["recipe"]["options"]["epochs"] == 12
    assert index["credits"] == ["the people of the test"]
    assert index["shape"]["tasks"] == ["title", "title+rag"]
    assert arrays["before"].shape == (2, 2, 32)
    said = {}
    for line in log.read(folder / "head/training/log.jsonl")[-2:]:
        said |= line
    assert outcome.verdict.samples == outcome.beside.samples > 0
    assert said["held_out"] == pytest.approx(outcome.verdict.own, abs=1e-5)
    assert said["held_out_beside"] == pytest.approx(outcome.beside.own, abs=1e-5)
    assert said["held_out_beside_other"] == pytest.approx(outcome.beside.other, abs=1e-5)
    assert outcome.beside.own != outcome.verdict.own


def test_where_nothing_is_learnt_beside_records_nothing_is_judged_beside_them(folder: Path) -> None:
    from edgepersona_export.train.batches import Drawing

    outcome = tiny_training.run(folder, epochs=0.01, drawing=Drawing(shown=0))
    assert outcome.verdict.samples
    assert not outcome.beside.samples
    assert "held_out_beside" not in log.read(folder / "head/training/log.jsonl")[-1]


def test_people_are_judged_beside_records_by_what_is_shown_in_words(folder: Path) -> None:
    """A head that says next to nothing: what differs is in the words of the prompt."""
    from edgepersona_export.train.batches import Drawing

    shape = {"pooled": 0, "records": 0}
    drawing = Drawing(shown=0.5, shown_records=4)
    outcome = tiny_training.run(folder, epochs=0.01, lr=1e-9, shape=shape, drawing=drawing)
    assert outcome.verdict.own_minus_other == pytest.approx(0, abs=1e-6)
    assert abs(outcome.beside.own_minus_other) > 1e-4


class _StoppedError(Exception):
    pass


def test_a_stopped_run_goes_on_to_the_same_head(folder: Path, tmp_path: Path) -> None:
    def stop(done: int, total: int, loss: float) -> None:
        if done == 6:
            raise _StoppedError

    whole = tmp_path / "whole"
    whole.mkdir()
    for name in ("history.jsonl", "bundle"):
        (whole / name).symlink_to(folder / name)
    tiny_training.run(whole, epochs=2)
    with pytest.raises(_StoppedError):
        tiny_training.run(folder, epochs=2, progress=stop, save_every=4)
    tiny_training.run(folder, epochs=2, resume=True)
    assert losses(folder) == losses(whole)
    for name, array in weights(whole).items():
        assert np.array_equal(array, weights(folder)[name]), name


def test_a_run_that_was_done_says_once_what_people_held_out_say(folder: Path) -> None:
    tiny_training.run(folder, epochs=1)
    lines = log.read(folder / "head/training/log.jsonl")
    tiny_training.run(folder, epochs=1, resume=True)
    assert log.read(folder / "head/training/log.jsonl") == lines


def began(folder: Path, **changes: object) -> dict[str, np.ndarray]:
    """Return the weights after next to no learning, from the head of an earlier run on."""
    (folder / "head").rename(folder / "earlier")
    tiny_training.run(folder, epochs=0.01, lr=1e-9, start=folder / "earlier", **changes)
    return weights(folder)


def test_a_run_begins_with_the_head_it_is_told_of(folder: Path) -> None:
    tiny_training.run(folder, epochs=2)
    learnt = weights(folder)
    for name, array in began(folder).items():
        # Matrices are kept as halves, and were halves before.
        assert array == pytest.approx(learnt[name].astype(np.float32), rel=2e-3, abs=1e-4), name
    index = tiny_head.read(folder / "head")[0]
    assert index["recipe"]["start"]


def test_what_stands_beside_records_is_learnt_alone(folder: Path) -> None:
    from edgepersona_export.train.batches import Drawing

    tiny_training.run(folder, epochs=2)
    learnt = weights(folder)
    (folder / "head").rename(folder / "earlier")
    tiny_training.run(
        folder,
        epochs=2,
        start=folder / "earlier",
        drawing=Drawing(shown=1.0),
        contrast=1.0,
        only_beside=True,
    )
    arrays = weights(folder)
    beside = tiny_head.read(folder / "head")[0]["shape"]["tasks"].index("title+rag")
    for name in ("before", "after", "lead"):
        assert np.abs(arrays[name][beside] - learnt[name][beside]).max() > 1e-3, name
        arrays[name][beside] = learnt[name][beside]
    for name, array in arrays.items():
        # What is folded together when a head is written is taken apart and folded again.
        assert array == pytest.approx(learnt[name], rel=1e-5, abs=1e-6), name


def test_what_stands_beside_records_alone_is_learnt_for_a_head(folder: Path) -> None:
    from edgepersona_export.train.batches import Drawing

    with pytest.raises(InputError, match="name it with start"):
        tiny_training.run(folder, drawing=Drawing(shown=1.0), only_beside=True)
    with pytest.raises(InputError, match="needs them in every prompt"):
        tiny_training.run(folder, drawing=Drawing(shown=0.9), only_beside=True)
    tiny_training.run(folder, epochs=0.01, tasks=("subject",))
    (folder / "head").rename(folder / "earlier")
    with pytest.raises(InputError, match=r"knows subject, subject\+rag too"):
        tiny_training.run(
            folder, start=folder / "earlier", drawing=Drawing(shown=1.0), only_beside=True
        )


def test_whom_an_earlier_head_is_owed_to_is_credited_as_well(folder: Path) -> None:
    tiny_training.run(folder, epochs=0.01, credit="people of before")
    began(folder)
    credited = tiny_head.read(folder / "head")[0]["credits"]
    assert credited == ["people of before", "the people of the test"]


def test_a_task_that_the_other_head_does_not_know_begins_as_words(folder: Path) -> None:
    tiny_training.run(folder, epochs=0.01, lr=1e-9, tasks=("rating",))
    words = weights(folder)
    (folder / "head").rename(folder / "untaught")
    tiny_training.run(folder, epochs=2)
    learnt = weights(folder)
    arrays = began(folder, tasks=("rating",))
    for name in ("before", "after", "lead"):
        assert arrays[name] == pytest.approx(words[name], abs=1e-5), name
    assert arrays["title_outer"] == pytest.approx(learnt["title_outer"], rel=2e-3, abs=1e-4)


def test_a_head_begins_with_one_that_reads_other_titles_beside_records(folder: Path) -> None:
    tiny_training.run(folder, epochs=2)
    learnt = weights(folder)
    assert began(folder, shape={"beside": "newest"})["lead"] == pytest.approx(
        learnt["lead"], abs=1e-4
    )
    assert tiny_head.read(folder / "head")[0]["shape"]["beside"] == "newest"


def test_a_head_of_other_sizes_is_no_beginning(folder: Path) -> None:
    tiny_training.run(folder, epochs=0.01)
    embedder = tiny_training.Embeds()
    with pytest.raises(InputError, match="has pooled 2, this run 1: choose the same"):
        began(folder, shape={"pooled": 1}, embedder=embedder)
    assert not embedder.texts


def test_a_head_begins_with_one_that_reads_fewer_titles(folder: Path) -> None:
    tiny_training.run(folder, epochs=2)
    learnt = weights(folder)
    read = tiny_head.read(folder / "head")[0]["shape"]["records"]
    arrays = began(folder, shape={"records": read + 2})
    for name in ("lead", "title_outer", "title_offset"):
        assert arrays[name] == pytest.approx(learnt[name], rel=2e-3, abs=1e-4), name
    assert tiny_head.read(folder / "head")[0]["shape"]["records"] == read + 2


def test_what_is_left_as_it_is_reads_as_many_titles(folder: Path) -> None:
    from edgepersona_export.train.batches import Drawing

    tiny_training.run(folder, epochs=0.01, drawing=Drawing(shown=1.0))
    with pytest.raises(InputError, match="only-beside leaves a head as it is, which has records"):
        began(folder, drawing=Drawing(shown=1.0), only_beside=True, shape={"records": 7})


def test_more_titles_may_be_read_beside_records_where_the_rest_is_left_as_it_is(
    folder: Path,
) -> None:
    from edgepersona_export.train.batches import Drawing

    tiny_training.run(folder, epochs=0.01, drawing=Drawing(shown=1.0))
    before = tiny_head.read(folder / "head")[0]["shape"]
    shape = {"records_beside": before["records"] + 2}
    began(folder, drawing=Drawing(shown=1.0), only_beside=True, shape=shape)
    assert tiny_head.read(folder / "head")[0]["shape"] == before | shape


@pytest.mark.parametrize(
    ("shape", "said"),
    [
        ({"records": 257}, "more than 256"),
        ({"records": 256}, "soft tokens"),
        ({"records_beside": 257}, "more than 256"),
        ({"records_beside": 256}, "soft tokens"),
    ],
)
def test_a_head_too_large_to_be_read_is_not_trained(
    folder: Path, shape: dict[str, object], said: str
) -> None:
    embedder = tiny_training.Embeds()
    with pytest.raises(InputError, match=said):
        tiny_training.run(folder, shape=shape, embedder=embedder)
    assert not embedder.texts


def test_a_head_that_reads_no_titles_is_no_beginning_for_one_that_does(folder: Path) -> None:
    tiny_training.run(folder, epochs=0.01, shape={"records": 0})
    with pytest.raises(InputError, match="has records 0, this run 2: choose some, or none"):
        began(folder, shape={"records": 2})


def test_a_beginning_that_is_no_head_is_found_out_before_anything_is_embedded(folder: Path) -> None:
    embedder = tiny_training.Embeds()
    with pytest.raises(BundleError, match=r"nowhere/head\.json"):
        tiny_training.run(folder, start=folder / "nowhere", embedder=embedder)
    assert not embedder.texts


def test_resuming_with_other_options_is_refused(folder: Path) -> None:
    tiny_training.run(folder, epochs=1)
    with pytest.raises(InputError, match="other models, data or options"):
        tiny_training.run(folder, epochs=1, resume=True, lr=1e-3)


def test_a_damaged_checkpoint_is_refused(folder: Path) -> None:
    (folder / "head/training").mkdir(parents=True)
    (folder / "head/training/checkpoint.pt").write_bytes(b"no checkpoint")
    with pytest.raises(InputError, match="no checkpoint that can be read"):
        tiny_training.run(folder, resume=True)


def test_vectors_are_computed_once(folder: Path) -> None:
    embedder = tiny_training.Embeds()
    tiny_training.run(folder, epochs=0.5, embedder=embedder)
    first = embedder.texts
    assert first == 2 * tiny_training.PEOPLE * tiny_training.RECORDS
    tiny_training.run(folder, epochs=0.5, embedder=embedder)
    assert embedder.texts == first


def test_the_contrast_costs_where_another_foretells_as_well() -> None:
    own = torch.tensor([1.0, 2.0], requires_grad=True)
    other = torch.tensor([1.0, 3.0], requires_grad=True)
    cost = own_against_other(own, other)
    cost.backward()
    assert own.grad[0] > own.grad[1] > 0 > other.grad[1] > other.grad[0]
    assert own_against_other(own, other + 5) < 1e-6


def test_a_run_with_the_contrast_tells_both_sides(folder: Path) -> None:
    verdict = tiny_training.run(folder, epochs=4, contrast=1.0).verdict
    assert verdict.samples
    assert verdict.own_minus_other == verdict.own - verdict.other


def test_two_processes_give_the_curve_of_one(folder: Path) -> None:
    tiny_training.run(folder)
    alone = losses(folder)
    command = [
        # Its --cpu asks for MPI. What several processes are, a processor's are too.
        *(sys.executable, "-m", "accelerate.commands.launch", "--multi_gpu"),
        *("--num_processes", "2", "--num_machines", "1", "--mixed_precision", "no"),
        *("--dynamo_backend", "no", "--main_process_port", "0"),
        *("--module", "tests.tiny_training", str(folder)),
    ]
    path = os.pathsep.join([str(ROOT), str(ROOT / "export"), os.environ.get("PYTHONPATH", "")])
    environment = {**os.environ, "PYTHONPATH": path, "OMP_NUM_THREADS": "1"}
    environment |= {"ACCELERATE_USE_CPU": "true", "CUDA_VISIBLE_DEVICES": ""}
    done = subprocess.run(command, env=environment, cwd=ROOT, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr[-2000:]
    assert done.stdout.count("processes 2") == 2
    assert losses(folder) == pytest.approx(alone, abs=2e-3)


def test_a_batch_that_processes_cannot_share_is_refused(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("accelerate.Accelerator.num_processes", 3)
    with pytest.raises(InputError, match="cannot be shared by 3 processes"):
        tiny_training.run(folder)


def test_a_record_is_foretold_from_strictly_earlier_ones(tmp_path: Path) -> None:
    dates = ["2019", "2020", "2020-01-05", "2020-03-01", "2020-03-01", "2020-03-02", "2021"]
    lines = [
        {"user_id": "a", "id": str(i), "date": date, "title": f"t{i}", "text": f"x{i}"}
        for i, date in enumerate(dates)
    ]
    file = tmp_path / "h.jsonl"
    file.write_text("".join(json.dumps(line) + "\n" for line in lines))
    corpus = read_corpus([(file, "title")])
    found = {
        corpus.records[s.record].id: [corpus.records[r].id for r in s.earlier]
        for s in corpus.samples
    }
    # "2020" may be any day of 2020, so nothing of that year is after it for certain.
    assert found == {"6": ["0", "1", "2", "3", "4", "5"], "5": ["0", "2", "3", "4"]}


def test_nobody_with_enough_records_is_an_error_that_says_so(tmp_path: Path) -> None:
    file = tiny_training.write_data(tmp_path / "h.jsonl", records=3)
    with pytest.raises(InputError, match=r"h\.jsonl: nobody in it has"):
        read_corpus([(file, "title")])


def test_of_one_person_so_many_are_drawn(tmp_path: Path) -> None:
    file = tiny_training.write_data(tmp_path / "h.jsonl", people=2, records=9)
    assert len(read_corpus([(file, "title")], most_per_user=2).samples) == 4


def test_a_curve_is_drawn(tmp_path: Path) -> None:
    pytest.importorskip("matplotlib", reason="eval extra is not installed")
    lines = [{"step": 1, "loss": 2.0}, {"step": 2, "loss": 1.0, "held_out": 1.5}]
    assert log.draw(lines, tmp_path / "curve.png")
    assert (tmp_path / "curve.png").read_bytes().startswith(b"\x89PNG")
