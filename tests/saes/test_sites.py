import pytest

from sae_match.errors import UserError
from sae_match.saes.sites import MATCHED_SITES, SITES, Spot, checked_site, matched_site, refuse_other_spot, spot_of


@pytest.mark.parametrize(
    ("hook", "layer", "site"),
    [
        ("blocks.3.hook_resid_post", 3, "residual"),
        ("blocks.3.hook_resid_pre", 3, "residual_before"),
        ("blocks.12.hook_mlp_out", 12, "mlp"),
        ("blocks.0.attn.hook_z", 0, "attention"),
        ("blocks.7.hook_attn_out", 7, "attention_output"),
        ("blocks.7.hook_resid_mid", 7, "residual_middle"),
        ("model.layers.5.output", 5, "residual"),
        ("model.language_model.layers.5.output", 5, "residual"),
        ("model.layers.5.self_attn.o_proj.input", 5, "attention"),
        ("model.layers.5.post_feedforward_layernorm.output", 5, "mlp"),
        ("model.layers.5.pre_feedforward_layernorm.output", 5, "mlp_input"),
        ("blocks.7.attn.hook_q", 7, None),
        ("layers.11", 11, "residual"),
        ("layers.11.mlp", 11, "mlp"),
        ("transformer.h.2", 2, "residual"),
        ("resid_post_layer_8", 8, "residual"),
        ("attn_out_layer_8", 8, "attention_output"),
    ],
)
def test_names_of_places(hook, layer, site):
    assert spot_of(hook) == Spot(layer, site)


@pytest.mark.parametrize("hook", ["", ".", "final", "sae/trainer_0", "blocks.x.hook_resid_post"])
def test_names_of_other_schemes_say_nothing(hook):
    assert spot_of(hook) is None
    refuse_other_spot(hook, Spot(3, "mlp"))


def test_what_a_layer_leaves_is_what_the_next_one_reads():
    refuse_other_spot("blocks.3.hook_resid_pre", Spot(2, "residual"))
    refuse_other_spot("blocks.3.hook_resid_pre", Spot(3, "residual_before"))
    refuse_other_spot("blocks.3.hook_resid_post", Spot(4, "residual_before"))
    with pytest.raises(UserError, match=r"that is residual_before of layer 3, .*; sae\.site=residual_before"):
        refuse_other_spot("blocks.3.hook_resid_pre", Spot(3, "residual"))


def test_another_place_is_refused_with_the_setting_that_names_it():
    with pytest.raises(UserError, match=r"blocks\.3\.hook_mlp_out, that is mlp of layer 3, .* sae.site=mlp says so"):
        refuse_other_spot("blocks.3.hook_mlp_out", Spot(3, "residual"))
    with pytest.raises(UserError, match="that is residual_middle of layer 3, not residual of layer 3"):
        refuse_other_spot("blocks.3.hook_resid_mid", Spot(3, "residual"))
    with pytest.raises(UserError, match="none of the sites residual"):
        refuse_other_spot("blocks.3.attn.hook_q", Spot(3, "residual"))
    with pytest.raises(UserError, match=r"residual of layer 4, not residual of layer 3$"):
        refuse_other_spot("model.layers.4.output", Spot(3, "residual"))


def test_sites_are_known_by_name():
    assert [checked_site(site) for site in SITES] == list(SITES)
    with pytest.raises(UserError, match="unknown site 'heads'; there are residual, "):
        checked_site("heads")


def test_places_where_nothing_is_measured_are_sites_of_what_is_matched():
    assert {*MATCHED_SITES} - {*SITES} == {"mlp_input", "residual_middle"}
    assert [matched_site(site) for site in MATCHED_SITES] == list(MATCHED_SITES)
    with pytest.raises(UserError, match=r"'mlp_input' can be matched .*, and nothing can be measured of them on text"):
        checked_site("mlp_input")
    with pytest.raises(UserError, match=r"unknown site 'heads'; there are residual, .*, mlp_input, residual_middle"):
        matched_site("heads")
