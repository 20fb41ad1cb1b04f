"""SAEs of what an MLP or an attention gives: a training, and everything it leaves, knows which."""

import json

import pytest
import torch

from sae_match import load_sae
from sae_match.errors import UserError
from sae_match.evaluation.statistics.moments import Moments, explained_variance
from sae_match.saes.collection import SAECollection
from sae_match.saes.manifest import recorded_site
from sae_match.saes.settings import SAESettings
from sae_match.saes.sites import SITES, Spot, hook_name, spot_of
from sae_match.training.collecting.activations import token_values
from sae_match.training.collecting.text_stream import CropStream
from tests.training.trainings import SETTINGS, KillAfter, Killed, recipe_of, run, tensors_of
from tests.training.words import word_tokenizer

ADDED = ("mlp", "attention")


def by_plain_hooks(stream, ids, site, layer):
    """What the module itself gives, or is given, in a pass of the model as it is."""
    block, seen = stream.model.transformer.h[layer], []
    if site == "mlp":
        handle = block.mlp.register_forward_hook(lambda _module, _inputs, output: seen.append(output))
    else:
        handle = block.attn.c_proj.register_forward_pre_hook(lambda _module, inputs: seen.append(inputs[0]))
    stream.model(ids)
    handle.remove()
    return seen[0]


@pytest.mark.parametrize("site", ADDED)
def test_what_is_collected_is_what_the_module_gives(stream, text, site):
    batch = next(CropStream(text, word_tokenizer(), "training", SETTINGS))
    found = token_values(stream, batch, [1, 0], site)
    for at, layer in enumerate((1, 0)):
        expected = torch.cat(
            [
                by_plain_hooks(stream, ids[mask][None].long(), site, layer)[0, 1:]
                for ids, mask in zip(batch.input_ids, batch.attention_mask, strict=True)
            ]
        )
        torch.testing.assert_close(found[at], expected.to(torch.bfloat16), rtol=1e-2, atol=1e-3)


@pytest.mark.parametrize("site", ADDED)
def test_every_file_knows_the_site(stream, text, tmp_path, site):
    destination = tmp_path / "saes"
    done = run(recipe_of(stream, text, destination, site=site))
    assert json.loads((destination / "saes.json").read_text())["site"] == site == recorded_site(destination)
    collection = SAECollection.of(SAESettings(format="folder", source=str(destination)))
    assert collection.site == site
    assert sorted(collection.layers) == [0, 1]
    again = load_sae("sae_lens", str(destination / "sae_lens"), layer=1, path="layer_{layer}")
    assert torch.equal(again.W_dec, collection.open(1).W_dec)
    config = json.loads((destination / "sae_lens" / "layer_1" / "cfg.json").read_text())
    assert spot_of(config["metadata"]["hook_name"]) == Spot(1, site)
    # No norm reads it.
    assert done[1].explained_variance_normed is None
    assert recipe_of(stream, text, destination, site=site).finished() == done
    with pytest.raises(UserError, match=rf"another training: training\.site was {site} there and is residual here"):
        recipe_of(stream, text, destination).finished()


def test_what_is_told_is_of_what_the_module_gives(stream, text, tmp_path):
    done = run(recipe_of(stream, text, tmp_path / "saes", site="mlp"))
    collection = SAECollection.of(SAESettings(format="folder", source=str(tmp_path / "saes")))
    held_out = CropStream(text, word_tokenizer(), "fitting", SETTINGS)
    x = torch.cat([token_values(stream, batch, [1], "mlp")[0] for batch in held_out]).float()
    sae = collection.open(1)
    expected = explained_variance(Moments.of(x.double()), Moments.of((sae(x) - x).double()))
    assert done[1].explained_variance == pytest.approx(expected, abs=1e-5)


def test_collected_activations_of_another_site_are_not_taken_up(stream, text, tmp_path):
    kept = str(tmp_path / "kept")
    trained = {}
    for site in ("residual", "mlp", "attention"):
        run(recipe_of(stream, text, tmp_path / site, site=site, activations=kept))
        run(recipe_of(stream, text, tmp_path / f"{site}_alone", site=site))
        trained[site] = tensors_of(tmp_path / site), tensors_of(tmp_path / f"{site}_alone")
    for among_others, alone in trained.values():
        assert all(torch.equal(among_others[name], tensor) for name, tensor in alone.items())


def test_a_checkpoint_of_another_site_is_refused(stream, text, tmp_path):
    with pytest.raises(Killed):
        run(recipe_of(stream, text, tmp_path / "saes", site="mlp"), KillAfter(4))
    with pytest.raises(UserError, match=r"training\.site was mlp there and is attention here"):
        run(recipe_of(stream, text, tmp_path / "saes", site="attention"))


def test_what_was_trained_before_there_were_sites_is_of_the_residual_stream(stream, text, tmp_path):
    done = run(recipe_of(stream, text, tmp_path / "saes", steps=1))
    file = tmp_path / "saes" / "training.json"
    whole = json.loads(file.read_text())
    del whole["identity"]["training.site"]
    file.write_text(json.dumps(whole))
    assert recipe_of(stream, text, tmp_path / "saes", steps=1).finished() == done
    with pytest.raises(UserError, match=r"training\.site was residual there and is mlp here"):
        recipe_of(stream, text, tmp_path / "saes", steps=1, site="mlp").finished()


def test_saes_of_another_site_are_no_start(stream, text, tmp_path):
    run(recipe_of(stream, text, tmp_path / "mlp", site="mlp"))
    with pytest.raises(UserError, match=r"mlp read the site mlp, those that are to be trained attention"):
        run(recipe_of(stream, text, tmp_path / "saes", site="attention", start_from=str(tmp_path / "mlp")))


def test_a_site_that_there_is_not_is_refused(stream, text, tmp_path):
    with pytest.raises(UserError, match="unknown site 'heads'; there are residual, residual_before, mlp"):
        recipe_of(stream, text, tmp_path / "saes", site="heads")


def test_a_setting_that_contradicts_the_folder_is_refused(stream, text, tmp_path):
    run(recipe_of(stream, text, tmp_path / "saes", site="mlp"))
    with pytest.raises(UserError, match=r"saes\.json says that its SAEs read the site mlp, sae\.site=attention"):
        SAECollection.of(SAESettings(format="folder", source=str(tmp_path / "saes"), site="attention"))
    file = tmp_path / "saes" / "saes.json"
    file.write_text(file.read_text().replace('"mlp"', '"heads"'))
    with pytest.raises(UserError, match=r"saes\.json: unknown site 'heads'"):
        SAECollection.of(SAESettings(format="folder", source=str(tmp_path / "saes")))


@pytest.mark.parametrize("site", SITES)
def test_a_site_has_the_name_that_others_give_it(site):
    assert spot_of(hook_name(site, 3)) == Spot(3, site)
