import torch

from sae_match.semantics.contexts import Place
from sae_match.semantics.evidence import Evidence, Published, WhereItFires
from sae_match.semantics.passages import Passage, Passages
from sae_match.semantics.questions import Question


class Told(Passages):
    """Passages of two features: one fires on two words, one never."""

    def __init__(self):
        pass

    def strongest(self, layer, feature):
        assert (layer, feature) == (4, 0)
        place = Place("prose", 0, 3, 2.0)
        return [Passage(("The", " Congress", " of\n", " the"), position, place) for position in (1, 3, 0, 2)]

    def label(self, layer, feature):
        return f"L{layer} F{feature}"

    def profile(self, layer, feature):
        assert (layer, feature) == (4, 0)
        return [(" Congress", 0.75), ("The", 0.25)]


def test_what_fires_is_told_with_marked_passages():
    evidence = WhereItFires(Told(), {4: torch.tensor([3, 0])})
    assert isinstance(evidence, Evidence)
    assert evidence.known(4) == [True, False]
    shown = evidence.of(4, 0)
    assert shown.text == (
        "Active on the tokens L4 F0. Strongest in: The« Congress» of the; The Congress of « the»; «The» Congress of the"
    )
    assert shown.profile == ((" Congress", 0.75), ("The", 0.25))
    assert evidence.of(4, 1).text == ""
    assert evidence.of(4, 1).profile == ()


class Pages:
    def known(self, layer, features):
        return [self.of(layer, feature) is not None for feature in range(features)]

    def of(self, layer, feature):
        return "words about trade" if (layer, feature) == (2, 1) else None

    def fetch(self, wanted, watch):
        self.wanted = wanted
        for layer, features in wanted.items():
            watch(f"layer {layer}", len(features), len(features))


def test_published_descriptions_are_shown_as_they_are():
    evidence = Published(Pages(), {2: 3})
    assert isinstance(evidence, Evidence)
    assert evidence.known(2) == [False, True, False]
    assert evidence.of(2, 1).text == "words about trade"
    assert evidence.of(2, 0).text == ""


def test_what_is_asked_about_is_fetched_before_and_nothing_else():
    pages, told = Pages(), []
    asked = [
        Question("matched", 2, 1, 3, 7, 0),
        Question("random", 2, 1, 3, 8, 0),
        Question("identical", 2, 1, 2, 1, 0),
    ]
    Published(pages, {2: 3, 3: 9}).fetch(asked, lambda *progress: told.append(progress))
    assert pages.wanted == {2: {1}, 3: {7, 8}}
    assert told == [(1, 1), (2, 2)]
