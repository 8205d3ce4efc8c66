"""A prepared set's description is checked before TFDS follows it."""

import json
import sys
from pathlib import Path

import pytest

from jaxmnist import InputError
from jaxmnist.data.tfds_description import check_description

LABEL = {"pythonClassName": "tensorflow_datasets.core.features.class_label_feature.ClassLabel"}
HOSTILE = "planted_module.Feature"


def described(tmp_path: Path, features: object, info: object = None) -> Path:
    (tmp_path / "features.json").write_text(json.dumps(features))
    (tmp_path / "dataset_info.json").write_text(json.dumps({} if info is None else info))
    return tmp_path


@pytest.mark.parametrize(
    "features",
    [
        {"pythonClassName": HOSTILE},
        {"python_class_name": HOSTILE},
        {"type": HOSTILE, "content": {}},
        {**LABEL, "featuresDict": {"features": {"image": {"pythonClassName": HOSTILE}}}},
        {**LABEL, "sequence": {"feature": {"pythonClassName": HOSTILE}}},
        {**LABEL, "jsonFeature": {"json": json.dumps({"a": {"type": HOSTILE}})}},
        {"pythonClassName": "tensorflow_datasets_of_mine.Feature"},
        {"pythonClassName": "tensorflow_datasets"},
        {"pythonClassName": "tensorflow_datasets..os"},
        {"pythonClassName": ""},
    ],
)
def test_class_of_another_package_is_refused(tmp_path, features):
    with pytest.raises(InputError, match="only classes of tensorflow_datasets are imported"):
        check_description(described(tmp_path, features))


def test_class_of_another_package_is_not_imported(root, monkeypatch, small_and_at_home):
    from jaxmnist.data import load_dataset

    directory = root / "kmnist" / "3.0.1"
    (root / "planted_module.py").write_text("raise SystemExit('imported')")
    monkeypatch.syspath_prepend(root)
    text = (directory / "features.json").read_text()
    name = "tensorflow_datasets.core.features.image_feature.Image"
    assert name in text
    (directory / "features.json").write_text(text.replace(name, HOSTILE))
    with pytest.raises(InputError, match="planted_module"):
        load_dataset("kmnist", root)
    assert "planted_module" not in sys.modules


def test_feature_that_is_called_type_is_one(tmp_path):
    features = {**LABEL, "featuresDict": {"features": {"type": LABEL, "text": "{not JSON"}}}
    check_description(described(tmp_path, features))


@pytest.mark.parametrize(
    ("info", "words"),
    [
        ({"splits": [{"name": "train", "shardLengths": ["1000000000"]}]}, "1,000,000,000 records"),
        ({"splits": [{"name": "train", "shardLengths": ["9" * 400]}]}, "must be a number"),
        ({"splits": [{"name": "train", "shardLengths": [-1]}]}, "must be a number"),
        ({"splits": {"train": 1}}, "no list of splits"),
        ([], "no list of splits"),
    ],
)
def test_lengths_beyond_the_files_are_refused(tmp_path, info, words):
    with pytest.raises(InputError, match=words):
        check_description(described(tmp_path, LABEL, info))


def test_deep_description_is_refused(tmp_path):
    described(tmp_path, {})
    (tmp_path / "features.json").write_text("[" * 100_000 + "]" * 100_000)
    with pytest.raises(InputError, match="nested more than 32 deep"):
        check_description(tmp_path)
