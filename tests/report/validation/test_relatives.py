"""What a run says of relatives: its files, its terminal and its pictures, of two collections and of layers of one."""

import csv
import io
from dataclasses import replace

import numpy as np
import pyarrow.parquet as pq
import pytest

from sae_match import bundled
from sae_match.evaluation.relations.tables import LIFE_COLUMNS
from sae_match.evaluation.statistics.results import WEIGHTS
from sae_match.matching.relations.kinds import KINDS
from sae_match.matching.relations.result import Relations
from sae_match.report.validation.exploring import write_page
from sae_match.report.validation.outcome import Outcome
from sae_match.report.validation.pictures.relations import relations
from sae_match.report.validation.relatives import lives_of, print_relatives, save_relatives
from sae_match.saes.collection import SAECollection
from sae_match.saes.formats import gemma_scope
from sae_match.saes.two import TwoCollections
from sae_match.semantics.contexts import Contexts
from sae_match.semantics.passages import Passages
from sae_match.terminal import Terminal
from tests.evaluation.validating import collection_of, text_of, validated
from tests.report.explorer.made_up import received, unpacked

GIVEN = {"arms": ["matched"], "rotations": 1, "relations": True}


def outcome_of(model, folder, collection):
    data, contexts = text_of(model[1]), Contexts(2, 4)
    module = validated(model, folder, collection, data, observers=[contexts], **GIVEN)
    return Outcome.of(module, Passages(contexts, data.batches, data.tokenizer))


@pytest.fixture(scope="module")
def layers(bundled_model, tmp_path_factory):
    return outcome_of(bundled_model, tmp_path_factory.mktemp("layers"), collection_of(2, 3, 4))


@pytest.fixture(scope="module")
def seeds(bundled_model, tmp_path_factory):
    which = {3: gemma_scope.only_one(bundled.path("saes_seed_100"), 3, 1024)}
    both = TwoCollections(collection_of(3), SAECollection("gemma_scope", bundled.path("saes_seed_100"), layers=which))
    return outcome_of(bundled_model, tmp_path_factory.mktemp("seeds"), both)


def printed(outcome):
    console = Terminal(file=io.StringIO(), width=80)
    print_relatives(console, outcome)
    return console.file.getvalue()


def rows_of(file):
    with file.open(newline="", encoding="utf-8") as lines:
        return list(csv.DictReader(lines))


def test_layers_of_one_collection_leave_lives_and_two_collections_what_is_new(layers, seeds, tmp_path):
    save_relatives(layers, tmp_path / "layers")
    save_relatives(seeds, tmp_path / "seeds")
    there = {file.name for file in (tmp_path / "layers" / "relations").iterdir()}
    assert there == {f"L0{n}-L0{n + 1}_{kind}.parquet" for n in (2, 3) for kind in ("features", "edges")}
    lives = rows_of(tmp_path / "layers" / "lives.csv")
    assert tuple(lives[0]) == LIFE_COLUMNS
    # Every feature of every layer has one life.
    assert sum(int(row["layers"]) for row in lives) == 3 * 1024
    name = "L03@saes-L03@saes_seed_100"
    there = {file.name for file in (tmp_path / "seeds" / "relations").iterdir()}
    assert there == {f"{name}_{kind}.parquet" for kind in ("features", "edges", "added")}
    assert not (tmp_path / "seeds" / "lives.csv").exists()
    added = pq.read_table(tmp_path / "seeds" / "relations" / f"{name}_added.parquet").to_pandas()
    stitched = seeds.stitched[(3, 3), "prose"]
    of_prose = added[added["dataset"] == "prose"]
    assert np.array_equal(of_prose["change"], stitched.change)
    surely = (of_prose["enough"] & (of_prose["change_high"] < 0)).sum()
    assert (of_prose["new"] == "surely").sum() == surely
    assert of_prose["new"].isna().sum() == (~stitched.enough).sum()


def test_the_explorer_is_given_relations_and_what_was_measured_on_each_dataset(seeds, layers, tmp_path):
    write_page(seeds, tmp_path / "seeds", "two seeds", {})
    write_page(layers, tmp_path / "layers", "layers", {})
    (about,) = received(tmp_path / "seeds" / "report" / "data" / "index.js")["relations"]
    found = seeds.relations[3, 3]
    assert (about["source"], about["target"], about["edges"]) == (0, 1, len(found.edges))
    assert about["datasets"] == ["prose", "code"]
    packed = unpacked(tmp_path / "seeds" / "report" / "data" / "relations-0.js")
    edges = np.frombuffer(packed, "<i4", 2 * len(found.edges)).reshape(2, -1)
    assert np.array_equal(edges, [found.edges.source, found.edges.target])
    abouts = received(tmp_path / "layers" / "report" / "data" / "index.js")["relations"]
    assert [(one["source"], one["target"]) for one in abouts] == [(0, 1), (1, 2)]


def test_splits_carry_what_was_measured_on_each_dataset(seeds, tmp_path):
    save_relatives(seeds, tmp_path)
    rows = rows_of(tmp_path / "splits.csv")
    assert {row["dataset"] for row in rows} == {"prose", "code"}
    found = seeds.relations[3, 3]
    for row in rows[:50]:
        overlap = seeds.overlaps[(3, 3), row["dataset"]]
        ends = [int(row["parent"]), int(row["child"])]
        source, target = ends if row["kind"] == "split" else ends[::-1]
        edge = int(((found.edges.source == source) & (found.edges.target == target)).nonzero())
        assert int(row["containment_tokens"]) == int(overlap.containment.tokens[edge])


def test_without_relations_nothing_is_left_said_or_drawn(layers, tmp_path):
    outcome = replace(layers, relations={}, overlaps={}, stitched={}, spaces={})
    save_relatives(outcome, tmp_path)
    assert not list(tmp_path.iterdir())
    assert printed(outcome) == ""
    assert not list(relations(outcome))


def test_the_terminal_names_features_by_what_they_fire_on_in_eighty_columns(layers, seeds):
    for outcome, side in ((layers, "2/"), (seeds, "3@saes/")):
        said = printed(outcome)
        assert max(map(len, said.splitlines())) <= 80
        for line in ("What became of the features?", "split, largest:", "merge, surest:", side, "random 0."):
            assert line in said
    assert "is one and the same up to layer 3" in printed(layers)
    said = " ".join(printed(seeds).split())
    assert "those that are new to the source's dictionary" in said
    assert f"features have no significant partner. The leading {seeds.spaces[3, 3].dimension} directions" in said
    assert "new to the source" not in printed(layers)


def test_results_have_every_number_once(layers, seeds):
    for outcome in (layers, seeds):
        rows = [row for row in outcome.everything() if row.arm == "relations"]
        keys = [(row.source_layer, row.target_layer, row.dataset, row.metric) for row in rows]
        assert len(set(keys)) == len(keys) > 20
    rows = {(row.dataset, row.metric): row for row in seeds.everything() if row.arm == "relations"}
    assert rows["prose", "new_all"].value == seeds.stitched[(3, 3), "prose"].shares["all"].new.value
    assert rows[WEIGHTS, "alone_space_shared"].value == seeds.spaces[3, 3].shared
    alone = int((~(seeds.matchings[3, 3].judged.significance.q <= 0.05)).sum())
    assert rows[WEIGHTS, "alone_source"].value == rows[WEIGHTS, "alone_target"].value == alone


def test_the_flow_holds_every_feature_of_either_side(seeds):
    (picture,) = relations(seeds)
    assert picture.name == "relations"
    for side in ("source", "target"):
        rows = [row for row in picture.rows if row["side"] == side]
        assert sum(row["features"] for row in rows) == 1024
        assert sum(row["share"] for row in rows) == pytest.approx(1)
    known = {row["kind"]: row["features"] for row in picture.rows if row["side"] == "target"}
    kinds = seeds.relations[3, 3].target_kind
    assert known == {KINDS[kind]: int((kinds == kind).sum()) for kind in kinds.unique().tolist()}
    assert {row["dataset"] for row in picture.more["new"]} == {"prose", "code"}
    texts = [text.get_text() for text in picture.figure.axes[0].texts]
    assert any(text.startswith("children of splits") for text in texts)


def test_of_layers_kinds_are_drawn_from_layer_to_layer(layers):
    (picture,) = relations(layers)
    shares = [row for row in picture.rows if row["metric"] == "source_share_one_to_one"]
    assert [row["target_layer"] for row in shares] == [3, 4]
    assert len(picture.figure.axes) == 3
    assert lives_of(layers)[0].layers == (2, 3, 4)


def test_what_is_saved_is_what_was_found(seeds, tmp_path):
    found = seeds.relations[3, 3]
    found.save(tmp_path / "relations.safetensors")
    assert Relations.load(tmp_path / "relations.safetensors").counts == found.counts
