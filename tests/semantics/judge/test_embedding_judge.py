import shutil

import pytest
import torch
from tokenizers import Tokenizer, models, pre_tokenizers
from transformers import AutoTokenizer, BertConfig, BertModel, PreTrainedTokenizerFast

from sae_match.errors import UserError
from sae_match.semantics.judge import Described, Estimate, Judge, JudgeSettings, open_judge

WORDS = ["[PAD]", "[UNK]", "red", "green", "apples", "legal", "terms"]


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """A random encoder that knows five words."""
    folder = tmp_path_factory.mktemp("encoder")
    words = Tokenizer(models.WordLevel({word: index for index, word in enumerate(WORDS)}, unk_token="[UNK]"))
    words.pre_tokenizer = pre_tokenizers.Whitespace()
    PreTrainedTokenizerFast(tokenizer_object=words, pad_token="[PAD]", unk_token="[UNK]").save_pretrained(folder)
    torch.manual_seed(0)
    config = BertConfig(
        vocab_size=len(WORDS),
        hidden_size=16,
        num_hidden_layers=2,
        num_attention_heads=2,
        intermediate_size=32,
        max_position_embeddings=12,
    )
    BertModel(config).save_pretrained(folder)
    return str(folder)


def settings(folder, **options):
    return JudgeSettings("embedding", folder, **{"cuts": [0.5, 0.9], **options})


def pairs(*texts):
    return [(Described(first), Described(second)) for first, second in texts]


def test_the_same_text_is_the_same_and_order_means_nothing(folder, tmp_path):
    judge = open_judge(settings(folder), tmp_path)
    same, one, other = judge.judge(
        pairs(("red apples", "red  apples"), ("red apples", "legal"), ("legal", "red apples"))
    )
    assert same.labels == (3,)
    assert same.detail == pytest.approx(1)
    assert one == other
    assert one.detail < 1
    assert isinstance(judge, Judge)
    assert judge.estimate([]) == Estimate()
    assert judge.obstacle() is None


def test_an_embedding_is_the_mean_over_the_tokens_of_the_text_alone(folder, tmp_path):
    """Padding must not leak in: a batch of texts of many lengths gives what each gives alone."""
    judge = open_judge(settings(folder, batch_size=8), tmp_path)
    texts = ["red", "red apples", "red green apples legal terms", "green"]
    together = judge.embed(texts)
    alone = torch.cat([judge.embed([text]) for text in texts])
    torch.testing.assert_close(together, alone)
    torch.testing.assert_close(together.norm(dim=-1), torch.ones(4))
    model = BertModel.from_pretrained(folder).eval()
    hidden = model(torch.tensor([[2, 4]])).last_hidden_state[0].detach()
    torch.testing.assert_close(together[1], hidden.mean(0) / hidden.mean(0).norm())


def test_texts_longer_than_the_model_are_cut(folder, tmp_path):
    judge = open_judge(settings(folder), tmp_path)
    (verdict,) = judge.judge(pairs(("red " * 12, "red " * 40)))
    assert verdict.detail == pytest.approx(1)


def test_each_text_is_encoded_once(folder, tmp_path):
    judge = open_judge(settings(folder, batch_size=2), tmp_path)
    told = []
    judge.judge(pairs(("red", "green"), ("green", "red"), ("red", "legal")), lambda *progress: told.append(progress))
    assert told == [(2, 3), (3, 3)]


def test_an_empty_description_has_no_label(folder, tmp_path):
    verdicts = open_judge(settings(folder), tmp_path).judge(pairs(("red", " "), ("", "")))
    assert [verdict.labels for verdict in verdicts] == [(), ()]
    assert verdicts[0].reason == "a description is empty"


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"model": None}, "needs judge.model"),
        ({"cuts": None}, "needs judge.cuts"),
        ({"batch_size": 0}, "judge.batch_size"),
        ({"model": "/no/such/folder"}, r"there is no folder /no/such/folder \(judge\.model\)"),
    ],
)
def test_what_it_cannot_do_without_is_said(folder, tmp_path, options, words):
    with pytest.raises(UserError, match=words):
        open_judge(JudgeSettings(**{"kind": "embedding", "model": folder, "cuts": [0.5, 0.9], **options}), tmp_path)


def test_a_folder_that_holds_no_model_is_named_with_the_judges_own_setting(tmp_path):
    (tmp_path / "notes").mkdir()
    with pytest.raises(UserError, match=r"cannot load the model .*notes \(judge\.model\): "):
        open_judge(settings(str(tmp_path / "notes")), tmp_path)


def test_a_folder_without_the_weights_is_named_with_the_judges_own_setting(folder, tmp_path):
    broken = tmp_path / "broken"
    shutil.copytree(folder, broken)
    (broken / "model.safetensors").write_bytes(b"")
    with pytest.raises(UserError, match=r"cannot load the model .*broken \(judge\.model\): "):
        open_judge(settings(str(broken)), tmp_path)


def with_another_token(folder, place, change):
    """The encoder with a tokenizer that was given a token more, which the model does not know."""
    shutil.copytree(folder, place)
    tokenizer = AutoTokenizer.from_pretrained(place)
    change(tokenizer)
    tokenizer.save_pretrained(place)
    return str(place)


def test_padding_may_be_a_token_that_the_model_does_not_know(folder, tmp_path):
    padded = with_another_token(folder, tmp_path / "padded", lambda it: it.add_special_tokens({"pad_token": "[MORE]"}))
    texts = [(Described("red"), Described("red green legal"))]
    expected, found = (open_judge(settings(place), tmp_path).judge(texts)[0].detail for place in (folder, padded))
    assert found == pytest.approx(expected)


def test_a_token_that_the_model_does_not_know_is_one_line(folder, tmp_path):
    other = with_another_token(folder, tmp_path / "other", lambda it: it.add_tokens(["crimson"]))
    with pytest.raises(UserError, match=r"makes the token \d+ of a description, and its embedding matrix has \d+ rows"):
        open_judge(settings(other), tmp_path).judge([(Described("red"), Described("crimson"))])
