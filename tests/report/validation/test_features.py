"""Tables of features and labels beside pairs, of one small validation of the bundled SAEs."""

import dataclasses
import json

import pyarrow.parquet as pq
import pytest

from sae_match.errors import UserError
from sae_match.report.validation.features import save_features, with_labels
from sae_match.report.validation.outcome import Outcome
from sae_match.semantics.contexts import Contexts
from sae_match.semantics.passages import Passages
from tests.evaluation.validating import collection_of, text_of, validated


@pytest.fixture(scope="module")
def module(bundled_model, tmp_path_factory):
    data, contexts = text_of(bundled_model[1]), Contexts()
    told = {"observers": [contexts], "arms": ["matched"], "rotations": 0}
    found = validated(bundled_model, tmp_path_factory.mktemp("features"), collection_of(2, 3), data, **told)
    return found, Passages(contexts, data.batches, data.tokenizer)


@pytest.fixture(scope="module")
def outcome(module):
    return Outcome.of(*module)


@pytest.fixture(scope="module")
def saved(outcome, tmp_path_factory):
    folder = tmp_path_factory.mktemp("run") / "features"
    return save_features(outcome, folder), folder


def test_every_layer_has_a_table_of_its_features(saved, module):
    labels, folder = saved
    assert sorted(file.name for file in folder.iterdir()) == ["L02.parquet", "L03.parquet"]
    tally, passages = module[0].tally, module[1]
    for layer in (2, 3):
        rows = pq.read_table(folder / f"L0{layer}.parquet").to_pylist()
        by_dataset = {dataset: tally.active((layer, dataset)).tolist() for dataset in ("prose", "code")}
        for feature in range(0, 1024, 37):
            row = rows[feature]
            counts = [int(by_dataset[dataset][feature]) for dataset in by_dataset]
            assert (row["layer"], row["feature"]) == (layer, feature)
            assert [row["active_prose"], row["active_code"], row["active"]] == [*counts, sum(counts)]
            assert row["dead"] is (sum(counts) == 0)
            assert row["label"] == labels[layer][feature] == passages.label(layer, feature)
            assert len(row["contexts"]) == len(passages.strongest(layer, feature))
        assert len(rows) == 1024


def test_labels_stand_beside_pairs(saved, outcome):
    labels, _ = saved
    tables = with_labels(outcome, labels)
    assert tables.keys() == outcome.tables.keys()
    for (source, target), table in tables.items():
        for row in table.slice(0, 50).to_pylist():
            assert row["source_label"] == labels[source][row["source_feature"]]
            assert row["target_label"] == labels[target][row["target_feature"]]
    # Where nothing is known of one end, the table stays as it is.
    assert with_labels(outcome, {2: labels[2]}) == dict(outcome.tables)


def test_without_text_features_have_their_activity_alone(outcome, tmp_path):
    labels = save_features(dataclasses.replace(outcome, passages=None), tmp_path / "features")
    assert set(labels[3]) == {""}


def test_what_others_have_laid_there_stays(saved, outcome, tmp_path):
    folder = tmp_path / "features"
    folder.mkdir()
    (folder / "L02.parquet").write_text("mine")
    with pytest.raises(UserError, match="is not what a run of this program has left"):
        save_features(outcome, folder)
    assert (folder / "L02.parquet").read_text() == "mine"
    record = json.loads((saved[1].parent / ".features.json").read_text())
    assert record.keys() == {"L02.parquet", "L03.parquet"}
