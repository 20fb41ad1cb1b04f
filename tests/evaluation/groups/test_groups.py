"""Planted matchings give the groups that they were planted for, in the layout that circuit tools read."""

import json

import pytest
import torch

from sae_match import Matching, groups
from sae_match.errors import UserError
from sae_match.evaluation.groups.circuits import cantor
from sae_match.evaluation.groups.members import grouped_by
from sae_match.evaluation.groups.settings import GroupSettings
from tests.conftest import random_sae


def matching(permutation):
    return Matching(torch.tensor(permutation), torch.zeros(len(permutation), dtype=torch.float64))


# 0 → 2 → 1, 1 → 0 and no further, 2 nowhere, 3 → 3 → 3.
LINKS = {(3, 4): matching([2, 0, -1, 3]), (4, 5): matching([-1, 2, 1, 3])}


def test_features_on_one_path_are_a_group():
    found = grouped_by([(3, 0), (4, 2), (5, 1), (3, 2), (3, 1), (4, 0), (5, 3)], LINKS, {(4, 2): "France"})
    members = {group.name: group.members for group in found}
    assert members == {
        "France": ((3, 0), (4, 2), (5, 1)),
        "L03/1": ((3, 1), (4, 0)),
        "L03/2": ((3, 2),),
        "L05/3": ((5, 3),),
    }
    assert found[0].layers == (3, 4, 5)


def test_a_path_leads_through_features_that_are_not_there():
    assert [group.members for group in grouped_by([(3, 0), (5, 1)], LINKS)] == [((3, 0), (5, 1))]


def test_two_that_lead_to_one_are_a_group_only_where_it_is_there():
    none = torch.zeros(3, dtype=torch.float64)
    many = {(0, 1): Matching(torch.tensor([0, 0, 1]), none, one_to_one=False)}
    assert len(grouped_by([(0, 0), (0, 1)], many)) == 2
    assert [group.members for group in grouped_by([(0, 0), (0, 1), (1, 0)], many)] == [((0, 0), (0, 1), (1, 0))]


@pytest.mark.parametrize(
    ("features", "message"),
    [
        ([(6, 0)], "feature 0 of layer 6: no matching is of that layer; there are 3, 4, 5"),
        ([(3, 4)], "there is no feature 4 of layer 3, which has 4"),
    ],
)
def test_features_that_are_not_there_are_refused(features, message):
    with pytest.raises(UserError, match=message):
        grouped_by(features, LINKS)
    with pytest.raises(UserError, match="groups are made of matchings"):
        grouped_by(features, {})


def test_groups_are_written_as_super_nodes_of_an_attribution_graph(tmp_path):
    file = groups(LINKS, [(3, 0), (4, 2), (3, 2)]).save(tmp_path / "groups.json")
    found = json.loads(file.read_text("utf-8"))
    assert found["qParams"] == {
        "pinnedIds": ["3_0_0", "4_2_0"],
        "supernodes": [["L03/0", "3_0_0", "4_2_0"]],
        "linkType": "both",
        "clickedId": "",
        "sg_pos": "",
    }
    assert found["metadata"].keys() == {"slug", "scan", "transcoder_list", "prompt", "prompt_tokens", "schema_version"}
    names = {
        "node_id feature layer ctx_idx feature_type token_prob is_target_logit run_idx reverse_ctx_idx jsNodeId clerp "
        "influence activation"
    }
    assert {" ".join(sorted(node)) for node in found["nodes"]} == {" ".join(sorted(next(iter(names)).split()))}
    assert [node["node_id"] for node in found["nodes"]] == ["3_0_0", "4_2_0", "3_2_0"]
    assert found["nodes"][1]["feature"] == cantor(4, 2) == 23
    assert found["links"] == []
    assert found["groups"][0] == {
        "name": "L03/0",
        "layers": [3, 4],
        "members": [
            {"layer": 3, "feature": 0, "nodes": ["3_0_0"]},
            {"layer": 4, "feature": 2, "nodes": ["4_2_0"]},
        ],
    }


def test_the_features_of_a_prompt_have_a_node_at_each_place(bundled_model):
    stream, tokenizer = bundled_model
    saes = {layer: random_sae(layer, d_in=stream.d_in, d_sae=6) for layer in (3, 4)}
    links = {(3, 4): matching(list(range(6)))}
    prompt = "The capital of France"
    found = groups(links, prompt=prompt, model=stream, tokenizer=tokenizer, saes=saes, most=2)
    ids = torch.tensor([[tokenizer.bos_token_id, *tokenizer(prompt, add_special_tokens=False)["input_ids"]]])
    assert len(found.tokens) == ids.shape[1]
    clean = stream.capture(ids)
    for layer, sae in saes.items():
        f = sae.encode(clean.residuals[layer][0])
        strongest = f[1:].max(0).values
        wanted = {int(one) for one in strongest.argsort(descending=True)[:2] if strongest[one] > 0}
        assert {feature for at, feature in found.active if at == layer} == wanted
        for feature in wanted:
            places = {place: float(f[place, feature]) for place in range(1, len(f)) if f[place, feature] > 0}
            assert found.active[layer, feature] == pytest.approx(places, rel=1e-4)
            assert found.nodes_of((layer, feature)) == [f"{layer}_{feature}_{place}" for place in places]
    both = {feature for layer, feature in found.active if layer == 3} & {
        feature for layer, feature in found.active if layer == 4
    }
    assert {group.members[0][1] for group in found.groups if len(group.members) == 2} == both


def test_what_is_not_asked_rightly_is_refused():
    for how in ({}, {"features": [(3, 0)], "prompt": "a"}):
        with pytest.raises(UserError, match=r"give features=… or prompt=…"):
            groups(LINKS, **how)
    with pytest.raises(UserError, match=r"give model=… and saes=…"):
        groups(LINKS, prompt="a")
    for told, message in (
        ({"features": [[3]]}, "in groups.features"),
        ({"prompts": [" "]}, "prompts are texts in a list"),
        ({"most": 0}, "groups.most must be at least 1"),
    ):
        with pytest.raises(UserError, match=message):
            GroupSettings(**told)
