"""What features fire on in one call, against a plain run of the model with a loop over its tokens."""

import json
import subprocess
import sys
from collections import Counter

import pytest
import torch

from sae_match import bundled, features, load_sae
from sae_match.errors import UserError
from sae_match.semantics.passages import text_of
from tests.conftest import random_sae

TEXTS = ["The Congress of the United States has met in the city of Washington.", "", "def main(x):\n    return x + 1\n"]


@pytest.fixture(scope="module")
def saes():
    return {
        layer: load_sae("gemma_scope", bundled.path("saes"), layer=layer, width="1k", l0=l0)
        for layer, l0 in ((3, 6), (4, 8))
    }


@pytest.fixture(scope="module")
def tables(bundled_model, saes):
    return features(bundled_model[0], saes, TEXTS, tokenizer=bundled_model[1])


def test_it_says_what_a_plain_run_of_the_model_finds(bundled_model, saes, tables):
    model, tokenizer = bundled_model[0].model, bundled_model[1]
    assert sorted(tables) == [3, 4]
    for layer, sae in saes.items():
        active, total, tokens = torch.zeros(1024), torch.zeros(1024).double(), [Counter() for _ in range(1024)]
        for text in TEXTS:
            ids = tokenizer(text, add_special_tokens=False)["input_ids"]
            with torch.no_grad():
                states = model(torch.tensor([[tokenizer.bos_token_id, *ids]]), output_hidden_states=True).hidden_states
            for token, x in zip(ids, states[layer + 1][0, 1:], strict=True):
                f = sae.encode(x)
                active += f > 0
                total += f.double()
                for feature in (f > 0).nonzero().flatten().tolist():
                    tokens[feature][text_of(token, tokenizer)] += 1
        table = tables[layer]
        assert table["active"].tolist() == active.tolist()
        assert (table["dead"] == (table["active"] == 0)).all()
        live = active > 0
        assert table["mean_activation"][live.numpy()].tolist() == pytest.approx(
            (total / active)[live].tolist(), rel=1e-4
        )
        for feature in (active <= 10).nonzero().flatten().tolist():
            # Fewer than the sample takes and than are listed: all of them.
            assert {one["token"]: one["count"] for one in table["top_tokens"][feature]} == tokens[feature]


def test_documents_are_called_by_their_place_in_the_list(tables):
    found = {one["document"] for contexts in tables[3]["contexts"] for one in contexts}
    assert found == {0, 2}


def test_texts_may_be_given_one_by_one(bundled_model, saes, tables):
    stream, tokenizer = bundled_model
    found = features(stream, {3: saes[3]}, (text for text in TEXTS), tokenizer=tokenizer)
    assert found[3]["active"].tolist() == tables[3]["active"].tolist()


def test_models_of_transformers_and_files_of_text_are_taken(bundled_model, saes, tables, tmp_path):
    stream, tokenizer = bundled_model
    (tmp_path / "texts.jsonl").write_text("".join(json.dumps({"text": text}) + "\n" for text in TEXTS))
    found = features(stream.model, {3: saes[3]}, tmp_path / "texts.jsonl", tokenizer=tokenizer, batch=1)
    assert found[3]["active"].tolist() == tables[3]["active"].tolist()
    again = features(stream, {3: saes[3]}, str(tmp_path), tokenizer=tokenizer)
    assert again[3]["active"].tolist() == tables[3]["active"].tolist()
    (tmp_path / "alone.txt").write_text(TEXTS[0])
    few = features("bundled", {3: saes[3]}, tmp_path / "alone.txt", documents=1, max_tokens=4)
    assert few[3]["tokens"][0] == 3


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ({"text": "no such file"}, "there is no file or folder 'no such file'; texts themselves come in a list"),
        ({"text": "a long text " * 1000}, "texts themselves come in a list"),
        ({"text": "~ 3 apples"}, "there is no file or folder '~ 3 apples'; texts themselves come in a list"),
        ({"text": [""]}, "there is no text to read: no document has a token"),
        ({"text": ["a", 3]}, "texts are strings in a list, got 3 among them"),
        ({"saes": {}}, "SAEs are given by layer"),
        ({"saes": {9: random_sae(0, 128)}}, "an SAE is given for layer 9, the model has layers 0 to 7"),
        ({"saes": {3: random_sae(0, 6)}}, "SAE of layer 3 reads width 6, the model's residual has 128"),
        ({"model": 3}, "a model is a folder, a repository"),
        ({"tokenizer": None}, "takes its tokenizer as well: tokenizer="),
        ({"site": "nowhere"}, "unknown site 'nowhere'"),
        ({"max_tokens": 100_000}, "max_tokens=100000 is more than the model's"),
        ({"contexts": 0}, "contexts must be at least 1, got 0"),
    ],
)
@pytest.mark.usefixtures("as_a_user")
def test_what_cannot_be_is_refused_in_a_line(bundled_model, given, message):
    stream, tokenizer = bundled_model
    told = {"model": stream, "saes": {3: random_sae(0, 128)}, "text": ["a b c"], "tokenizer": tokenizer, **given}
    with pytest.raises(UserError) as refused:
        features(**told)
    assert message in str(refused.value)
    assert "\n" not in str(refused.value)


def test_a_tokenizer_without_a_first_token_is_told_one(bundled_model):
    stream, tokenizer = bundled_model
    kept = tokenizer.bos_token
    tokenizer.bos_token = None
    try:
        with pytest.raises(UserError, match="name one to use: bos="):
            features(stream, {3: random_sae(0, 128)}, ["a b"], tokenizer=tokenizer)
        found = features(stream, {3: random_sae(0, 128)}, ["a b"], tokenizer=tokenizer, bos=kept)
    finally:
        tokenizer.bos_token = kept
    assert len(found[3]) == 10


def test_its_name_brings_in_no_framework():
    statement = "import sys; from sae_match import features; print('transformers' in sys.modules)"
    done = subprocess.run([sys.executable, "-c", statement], capture_output=True, text=True, check=True)
    assert done.stdout.split() == ["False"]
