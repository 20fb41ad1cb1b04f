"""What a small validation says of significance, against the same numbers by hand."""

import math

import numpy as np
import pytest
import torch

from sae_match import compose
from sae_match.evaluation.significance.coactivation import Coactivation
from sae_match.evaluation.significance.doubts import doubts
from sae_match.evaluation.significance.findings import Findings, chains_of
from sae_match.evaluation.significance.measured import FIFTHS, fifths_of
from sae_match.evaluation.statistics.results import WEIGHTS, Results, SpanResult
from sae_match.matching.significance.composed import path_significance
from tests.evaluation.validating import collection_of, text_of, validated


@pytest.fixture(scope="module")
def module(bundled_model, tmp_path_factory):
    folder = tmp_path_factory.mktemp("findings")
    return validated(
        bundled_model,
        folder,
        collection_of(2, 3, 4),
        text_of(bundled_model[1]),
        arms=["matched", "random"],
        rotations=2,
    )


@pytest.fixture(scope="module")
def judged(module):
    return {pair: found.judged for pair, found in module.matchings.items()}


@pytest.fixture(scope="module")
def findings(module, judged):
    return Findings.of(judged, module.tally, 0.05, 0)


def test_shares_are_those_of_the_significances(findings, judged):
    rows = Results(findings.results).select(arm="matched", dataset=WEIGHTS)
    for pair, found in judged.items():
        value = dict(zip(("source_layer", "target_layer"), pair, strict=True))
        about, beside = found.significance, found.beside
        assert rows.value(**value, metric="significant_share") == pytest.approx(about.share, abs=1e-12)
        assert rows.value(**value, metric="storey_share") == pytest.approx(about.storey, abs=1e-12)
        assert rows.value(**value, metric="significant_from") == about.cut(0.05)
        assert rows.value(**value, metric="median_cosine") == pytest.approx(float(np.median(about.statistic)))
        for name, mask in (("mutual_nearest", beside.mutual_nearest), ("terms_agreement", beside.all_agree)):
            assert rows.value(**value, metric=name) == pytest.approx(float(mask.double().mean()), abs=1e-12)
        (share,) = rows.select(**value, metric="significant_share")
        assert share.low < share.value < share.high


def test_another_level_gives_other_shares(judged):
    by_level = [
        Results(Findings.of(judged, None, alpha, 0).results).select(metric="significant_share", source_layer=2)
        for alpha in (0.001, 0.3)
    ]
    assert by_level[0].rows[0].value < by_level[1].rows[0].value


def test_chains_are_significant_where_every_link_is(findings, judged):
    links = [judged[pair].significance for pair in ((2, 3), (3, 4))]
    assert set(findings.chains) == {(2, 4)}
    assert torch.equal(findings.chains[2, 4].p, path_significance(links).p)
    assert findings.chains[2, 4].matching.permutation.equal(compose(links[0].matching, links[1].matching).permutation)
    (row,) = Results(findings.results).select(arm="composed")
    assert (row.source_layer, row.target_layer, row.metric) == (2, 4, "significant_share")
    assert row.value == pytest.approx(path_significance(links).share, abs=1e-12)
    assert row.value < min(link.share for link in links)


def test_what_skips_a_layer_is_no_link(judged):
    first, second = (judged[pair].significance for pair in ((2, 3), (3, 4)))
    assert chains_of({(2, 4): first}) == {}
    assert set(chains_of({(2, 3): first, (3, 4): second, (2, 4): first})) == {(2, 4)}


def test_coactivation_of_classes_is_the_mean_over_pairs_with_enough_activations(findings, judged, module):
    rows = Results(findings.results).select(source_layer=3, target_layer=4, dataset="code")
    about = judged[3, 4].significance
    together = Coactivation.of(module.tally, (3, 4), "code", about.matching)
    either, both = together.either.numpy(), together.both.numpy()
    by_class = {"significant": about.q.numpy() <= 0.05, "not_significant": about.q.numpy() > 0.05}
    expected = {
        f"jaccard_{name}": np.mean((both / np.maximum(either, 1))[part & (either >= 25)])
        for name, part in by_class.items()
        if (part & (either >= 25)).any()
    }
    assert "jaccard_significant" in expected
    found = {row.metric: row.value for row in rows if row.metric in by_class or row.metric in expected}
    assert found == pytest.approx(expected)


def test_counts_of_pairs_are_those_of_the_tally(judged, module):
    matching, tally = judged[2, 3].significance.matching, module.tally
    found = Coactivation.of(tally, (2, 3), "prose", matching)
    assert found.source.tolist() == tally.active((2, "prose")).long().tolist()
    assert found.target.tolist() == tally.active((3, "prose")).long()[matching.permutation].tolist()
    assert found.both.tolist() == tally.joint(((2, 3), "matched", "prose")).long().tolist()


def test_fifths_begin_with_the_most_significant_and_are_of_equal_size(judged):
    about = judged[2, 3].significance
    fifths = fifths_of(about)
    counts = [int((fifths == number).sum()) for number in range(FIFTHS)]
    assert sum(counts) == int((~about.q.isnan()).sum())
    assert max(counts) - min(counts) <= 1
    for number in range(1, FIFTHS):
        before, after = about.statistic[fifths == number - 1], about.statistic[fifths == number]
        assert before.min() >= after.max()
        assert about.q[fifths == number - 1].max() <= about.q[fifths == number].min()


def test_spans_are_over_the_features_of_all_pairs_of_layers(findings, judged):
    (row,) = [one for one in findings.spans if (one.span, one.arm, one.metric) == (1, "matched", "significant_share")]
    tested = torch.cat([found.significance.tested for found in judged.values()])
    significant = torch.cat([found.significance.q <= 0.05 for found in judged.values()])
    assert (row.dataset, row.pairs) == (WEIGHTS, 2)
    assert row.value == pytest.approx(float(significant[tested].double().mean()), abs=1e-12)
    assert all(math.isfinite(one.value) for one in findings.spans)


def doubted(judged, **values):
    spans = [
        SpanResult(1, "matched", dataset, metric, value, None, None, 1)
        for (metric, dataset), value in {
            ("jaccard_significance_ratio", "prose"): values.get("ratio", 9.0),
            ("significant_share", WEIGHTS): values.get("share", 0.9),
            ("significant_share", "elsewhere"): 0.0,
        }.items()
    ]
    return [one.kind for one in doubts(Findings(0.05, judged, {}, [], spans))]


def test_a_ratio_below_two_and_a_share_below_a_half_are_reasons_to_doubt(judged):
    assert doubted(judged) == doubted(judged, ratio=2.0, share=0.5) == []
    assert doubted(judged, ratio=1.9) == ["significance_means_little"]
    assert doubted(judged, share=0.4) == ["few_matched"]


def test_doubts_say_how_much_and_where(findings):
    row = SpanResult(1, "matched", "code", "jaccard_significance_ratio", 1.5, 1.25, 1.75, 2)
    (said,) = doubts(Findings(0.05, findings.judged, {}, [], [row]))
    assert said.where == "2→3, 3→4"
    assert "only 1.5 times as often as the others (95 % interval 1.2 to 1.8)" in said.says
