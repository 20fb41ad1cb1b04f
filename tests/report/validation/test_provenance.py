"""A whole validation that asks where features come from, from its collections to its files."""

import io

import pyarrow.parquet as pq
import pytest
from rich.console import Console

from sae_match.evaluation.provenance.findings import PROVENANCE
from sae_match.evaluation.provenance.kinds import KINDS, NOT_TESTED
from sae_match.evaluation.provenance.sources import SOURCES
from sae_match.evaluation.provenance.study import ProvenanceStudy
from sae_match.evaluation.statistics.results import WEIGHTS
from sae_match.report.validation.outcome import Outcome
from sae_match.report.validation.pictures.provenance import PARTS, provenance
from sae_match.report.validation.provenance import print_provenance, save_provenance
from sae_match.saes.collection import SAECollection
from tests.evaluation.validating import collection_of, text_of, validated

LAYERS = (2, 3)


def itself_as(site):
    """The residual SAE of layer 3 itself, for that of a site: all of its features are found in it."""
    settings = collection_of(3)
    return SAECollection(settings.format, settings.source, layers=settings.layers, site=site)


@pytest.fixture(scope="module")
def outcome(bundled_model, tmp_path_factory):
    residual = collection_of(*LAYERS)
    study = ProvenanceStudy(bundled_model[0], residual, {"mlp": itself_as("mlp")}, rotations=2, chosen=[[3, 17]])
    data = text_of(bundled_model[1])
    folder = tmp_path_factory.mktemp("run")
    return Outcome.of(
        validated(bundled_model, folder, residual, data, observers=[study], arms=["matched"], checked=True)
    )


def test_every_share_is_among_the_results(outcome):
    rows = outcome.everything().select(arm=PROVENANCE, target_layer=3)
    kinds = [f"share_{kind.replace(' ', '_')}" for kind in KINDS[:NOT_TESTED]]
    assert sum(rows.value(metric=kind, dataset=WEIGHTS) for kind in kinds) == pytest.approx(1)
    assert sum(rows.value(metric=f"cut_{kind}", dataset=WEIGHTS) for kind in kinds) == pytest.approx(1)
    # What stands for the MLP's SAE is the residual SAE itself: every feature is like one of its own.
    assert rows.value(metric="like_mlp", dataset=WEIGHTS) == 1
    assert rows.value(metric="score_mlp", dataset=WEIGHTS) == pytest.approx(1, abs=1e-6)
    assert rows.value(metric="share_processed", dataset=WEIGHTS) > 0.6
    for dataset in ("prose", "code"):
        shares = [rows.value(metric=f"contribution_{name}_processed", dataset=dataset) for name in SOURCES]
        assert sum(shares) == pytest.approx(1, abs=1e-5)


def test_tables_and_graph_say_the_same(outcome, tmp_path):
    save_provenance(outcome.provenance, tmp_path / "provenance")
    found = sorted(file.name for file in (tmp_path / "provenance").iterdir())
    # Of layer 2 there is nothing that it may come from.
    assert found == ["L03.parquet", "graph.graphml", "graph.json"]
    table = pq.read_table(tmp_path / "provenance" / "L03.parquet").to_pandas()
    one = outcome.provenance.layers[3]
    assert list(table["kind"]) == [KINDS[kind] for kind in one.kinds.tolist()]
    assert list(table["mlp_feature"]) == list(range(1024))
    active = table[table["prose_active"] > 0]
    parts = sum(active[f"prose_contribution_{name}"] for name in SOURCES) + active["prose_bias"]
    assert float((parts / active["prose_pre_activation"] - 1).abs().max()) < 1e-5
    assert table[table["prose_active"] == 0]["prose_pre_activation"].isna().all()
    # A second time it is known as a run's.
    save_provenance(outcome.provenance, tmp_path / "provenance")


def test_the_picture_shows_the_shares(outcome):
    (picture,) = provenance(outcome)
    shown = {row["part"]: row["share"] for row in picture.rows if row["by"] == "q-values" and row["layer"] == 3}
    assert sum(shown[part] for part in PARTS) == pytest.approx(1)
    rows = outcome.of_provenance
    assert shown["processed"] == next(
        row.value for row in rows if row.metric == "share_processed" and row.target_layer == 3
    )
    assert picture.more["contributions"]


def test_the_terminal_says_it_in_eighty_columns(outcome):
    console = Console(width=80, record=True, file=io.StringIO())
    print_provenance(console, outcome.provenance, outcome.of_provenance)
    said = console.export_text()
    assert "Where do features come from?" in said
    assert "prose: what raises a feature above its mean" in said
    assert max(map(len, said.splitlines())) <= 80


def test_where_it_was_not_asked_nothing_is_left(tmp_path):
    save_provenance(None, tmp_path / "provenance")
    assert list(tmp_path.iterdir()) == []
    print_provenance(Console(file=io.StringIO()), None, [])
