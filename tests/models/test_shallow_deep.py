"""The trained network: accuracy of its exits on digits that neither training nor tuning saw."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file

from dyncc_models import train_shallow_deep
from dyncc_models.digits import digits_split
from dyncc_models.shallow_deep import load_shallow_deep, read_metadata

#: Lowest test accuracy of each classifier when it has to answer for every image.
ACCURACY = (0.96, 0.98, 0.98, 0.98)


@pytest.fixture(autouse=True)
def _inference() -> Iterator[None]:
    with torch.no_grad():
        yield


def test_the_parts_of_the_split_are_disjoint_and_complete() -> None:
    parts = digits_split(0)
    assert [len(part.labels) for part in parts] == [1078, 359, 360]
    images = torch.cat([part.images for part in parts])
    assert images.shape == (1797, 1, 8, 8)
    assert images.amin() == 0.0
    assert images.amax() == 1.0
    # The data hold no duplicates, so distinct images show that no image is in two parts.
    assert len(images.flatten(1).unique(dim=0)) == 1797
    assert digits_split(0).test.images.equal(parts.test.images)
    assert not digits_split(1).test.images.equal(parts.test.images)


def test_every_classifier_is_accurate_on_the_test_part() -> None:
    test = digits_split(0).test
    logits = torch.stack(load_shallow_deep().all_logits(test.images))
    accuracy = (logits.argmax(-1) == test.labels).float().mean(1).tolist()
    assert all(found >= bound for found, bound in zip(accuracy, ACCURACY, strict=True)), accuracy


def test_early_exits_answer_as_stated_in_the_weights_file() -> None:
    metadata = read_metadata()
    assert metadata["split_seed"] == "0"
    correct, exits = train_shallow_deep.evaluate(load_shallow_deep(), digits_split(0).test)
    assert correct == int(metadata["correct"])
    assert correct / 360 >= 0.98
    assert exits == [int(count) for count in metadata["exit_counts"].split(",")]
    assert sum(exits) == 360
    assert all(exits)  # every exit is used


def test_no_test_digit_is_so_close_to_the_threshold_that_rounding_could_change_its_exit() -> None:
    network = load_shallow_deep()
    logits = torch.stack(network.all_logits(digits_split(0).test.images))
    confidence = logits[:-1].softmax(-1).amax(-1)
    assert (confidence - network.threshold).abs().min() > 1e-4
    best, second = logits.topk(2).values.unbind(-1)
    assert (best - second).min() > 1e-3


def test_forward_answers_with_the_first_confident_classifier() -> None:
    network = load_shallow_deep()
    images = digits_split(0).validation.images[:40]
    for image in torch.split(images, 1):
        everything = network.all_logits(image)
        logits, index = network(image)
        torch.testing.assert_close(logits, everything[index])
        sure = [bool(item.softmax(-1).max() >= network.threshold) for item in everything[:-1]]
        assert index == (sure.index(True) if any(sure) else 3)


def test_training_writes_the_same_weights_each_time(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    paths = [tmp_path / "first.safetensors", tmp_path / "second.safetensors"]
    with torch.enable_grad():
        for path in paths:
            train_shallow_deep.main(["--epochs", "1", "--output", str(path)])
    assert "test accuracy" in capsys.readouterr().out
    first, second = (load_file(str(path)) for path in paths)
    assert all(second[key].equal(value) for key, value in first.items())
    assert read_metadata(paths[0])["epochs"] == "1"


def test_training_refuses_zero_epochs(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as stopped:
        train_shallow_deep.main(["--epochs", "0"])
    assert stopped.value.code == 2
    assert "--epochs must be at least 1" in capsys.readouterr().err
