import torch

from sae_match import match
from sae_match.benchmark.planted_chain import Plan, planted_chain
from sae_match.matching.baselines import identity
from sae_match.matching.significance.alternatives import alternatives
from sae_match.matching.significance.statistic import directions


def test_margins_and_mutual_nearest_are_those_of_a_plain_loop(make_sae):
    source, target = make_sae(0, d_sae=30), make_sae(1, d_sae=40)
    source.W_dec[4] = 0
    target.W_enc[:, 8] = 0
    matching = match(source, target, rejection_cost=40.0)
    found = alternatives(source, target, matching)
    values = directions(source, "mean").double() @ directions(target, "mean").double().T
    live = [j for j in range(40) if j != 8]
    for i, j in enumerate(matching.permutation.tolist()):
        if j < 0 or i == 4 or j == 8:
            assert found.margin[i].isnan()
            assert not found.mutual_nearest[i]
            continue
        others = max(float(values[i, k]) for k in live if k != j)
        assert abs(float(found.margin[i]) - (float(values[i, j]) - others)) < 1e-5
        rivals = max(float(values[k, j]) for k in range(30) if k not in (i, 4))
        assert bool(found.mutual_nearest[i]) == (float(values[i, j]) > max(others, rivals))


def test_parts_agree_where_matchings_by_parts_give_the_same_partner(make_sae):
    source, target = make_sae(0, d_sae=40), make_sae(1, d_sae=40)
    matching = match(source, target)
    found = alternatives(source, target, matching)
    by_encoder, by_decoder = (match(source, target, terms=(term,)).permutation for term in ("W_enc", "W_dec"))
    assert torch.equal(found.encoder_agrees, by_encoder == matching.permutation)
    assert torch.equal(found.decoder_agrees, by_decoder == matching.permutation)
    assert torch.equal(found.all_agree, found.encoder_agrees & found.decoder_agrees)


def test_parts_are_matched_also_where_the_pairs_were_not_found_by_weights(make_sae):
    sae = make_sae(0, d_sae=40)
    assert alternatives(sae, sae, identity(sae)).all_agree.all()
    assert not alternatives(sae, make_sae(1, d_sae=40), identity(sae)).encoder_agrees.all()


def test_each_of_them_tells_right_pairs_from_wrong_ones():
    source, target = planted_chain(Plan(0.5), 64, 512)
    matching = match(source.sae, target.sae)
    right = source.who == target.who[matching.permutation]
    found = alternatives(source.sae, target.sae, matching)
    for holds in (found.mutual_nearest, found.encoder_agrees, found.decoder_agrees, found.all_agree, found.margin > 0):
        assert right[holds].double().mean() > 3 * right[~holds].double().mean()


def test_a_target_of_one_feature_has_no_second_best(make_sae):
    source, target = make_sae(0), make_sae(1, d_sae=1)
    assert alternatives(source, target, match(source, target)).margin.isnan().all()
