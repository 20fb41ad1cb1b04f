"""Twenty mistakes that a command line may hold: each is named in one line, and every hint in it is right.

A hint is right if the command line that it leads to composes to settings. All of it is made in this process.
"""

import shlex

import pytest
from hydra import compose, initialize_config_dir
from hydra.core.global_hydra import GlobalHydra
from hydra.errors import HydraException

from sae_match.commands import PROGRAMS
from sae_match.errors import UserError
from sae_match.saes.two import collections_of
from sae_match.settings.configs import config_folder
from sae_match.settings.entry import register, typed
from sae_match.settings.refusals import in_one_line
from sae_match.text.counting import first_documents

# The command line, what its line must name, and command lines that the line's hints lead to, with what they say.
MISTAKES = {
    "a key": ("validate text.document=4", "text.documents", {"text.documents": "text.documents=4"}),
    "a key of another group": (
        "validate text.fitting_documents=8",
        "evaluation.fitting_documents",
        {"evaluation.fitting_documents": "evaluation.fitting_documents=8"},
    ),
    "a key without its group": ("validate documents=8", "text.documents", {"text.documents": "text.documents=8"}),
    "an added key": ("match +matcher.fould=none", "matcher.fold", {"matcher.fold": "matcher.fold=none"}),
    "a key of a layer": (
        "match sae.layers.3.widht=2k",
        "sae.layers.3.width",
        {"sae.layers.3.width": "sae.layers.3.width=2k"},
    ),
    "a dataset of another choice": (
        "validate text.datasets.files.path=x.jsonl",
        "text=files",
        {"text=files": "text=files text.datasets.files.path=x.jsonl"},
    ),
    "a group": ("validate matchr=cosine", "matcher", {"matcher": "matcher=cosine"}),
    "a choice": ("validate matcher=foldet", "matcher=foldet", {"folded": "matcher=folded"}),
    "a value": ("validate matcher.fold=treshold", "matcher.fold", {"threshold": "matcher.fold=threshold"}),
    "a metric": ("match matcher.metric=cosin", "matcher.metric", {"cosine": "matcher.metric=cosine"}),
    "an arm": ("validate evaluation.arms=[machted]", "machted", {"matched": "evaluation.arms=[matched]"}),
    "a number": ("validate text.documents=many", "text.documents", {}),
    "several values": (
        "validate evaluation.arms=matched,random",
        "evaluation.arms",
        {"'evaluation.arms=[matched,random]'": "'evaluation.arms=[matched,random]'"},
    ),
    "several pairs": ("match pairs=3,4", "pairs", {"'pairs=[[3,4]]'": "'pairs=[[3,4]]'"}),
    "a missing model": ("validate model=local", "model.source", {"model.source=…": "model=local model.source=DIR"}),
    "an empty value": ("validate sae.source=", "sae.source", {"sae.source=…": "sae.source=DIR"}),
    "no path of text": (
        "validate text=files",
        "text.datasets.files.path",
        {"text.datasets.files.path=…": "text=files text.datasets.files.path=DIR"},
    ),
    "no layers": (
        "match sae=sae_lens sae.source=DIR",
        "DIR",
        {
            "'sae.layer_numbers=[3,4]' and \"sae.path='layer_{layer}'\"": "sae=sae_lens sae.source=DIR "
            "'sae.layer_numbers=[3,4]' \"sae.path='layer_{layer}'\""
        },
    ),
    "no layers of a target": (
        "match target=gemma_scope target.source=DIR",
        "DIR",
        {
            "'target.layer_numbers=[3,4]' and '+target.each={width: 16k, l0: 71}'": "target=gemma_scope "
            "target.source=DIR 'target.layer_numbers=[3,4]' '+target.each={width: 16k, l0: 71}'"
        },
    ),
    "one folder for all layers": (
        "match sae=dictionary_learning sae.source=DIR sae.path=DIR sae.layer_numbers=[3,4]",
        "sae.path",
        {
            "\"sae.path='layer_{layer}'\"": "sae=dictionary_learning sae.source=DIR \"sae.path='layer_{layer}'\" "
            "sae.layer_numbers=[3,4]"
        },
    ),
    "braces": (
        "match sae=sae_lens sae.source=DIR sae.path=layer_{layer} sae.layer_numbers=[3,4]",
        "sae.path",
        {
            "\"sae.path='layer_{layer}'\"": "sae=sae_lens sae.source=DIR \"sae.path='layer_{layer}'\" "
            "sae.layer_numbers=[3,4]"
        },
    ),
    "another format": (
        "match sae=gemma_scope sae.source=DIR sae.path=DIR sae.layer_numbers=[3]",
        "gemma_scope",
        {"sae=sae_lens sae.path=…": "sae=sae_lens sae.path=DIR sae.source=DIR sae.layer_numbers=[3]"},
    ),
    "a folder that is not there": ("match sae=folder sae.source=/nowhere", "/nowhere", {}),
    "a layer without an SAE": ("match pairs=[[3,9]]", "layer 9", {"7": "pairs=[[3,7]]"}),
    "a sweep's setting without its launcher": (
        "validate hydra.launcher.n_jobs=3",
        "hydra.launcher.n_jobs",
        {"hydra/launcher=processes": "hydra/launcher=processes hydra.launcher.n_jobs=3"},
    ),
}


@pytest.fixture(scope="module", autouse=True)
def configs():
    register(**{name: one.settings for name, one in PROGRAMS.items()})
    GlobalHydra.instance().clear()
    with initialize_config_dir(version_base="1.3", config_dir=str(config_folder())):
        yield


def said_of(name, *told):
    """What is said of a command line; none if it composes to settings that a program could begin with."""
    try:
        config = compose(name, [*told, "output_dir=somewhere"])
        settings = typed(config, PROGRAMS[name].settings)
        if name == "match":
            collection = collections_of(settings.sae, settings.target)
            for pair in settings.pairs if isinstance(settings.pairs, list) else ():
                for layer in pair:
                    collection.refuse_unknown(layer)
    except UserError as error:
        return str(error)
    except HydraException as error:
        return in_one_line(error, config_folder() / f"{name}.yaml")
    return None


@pytest.mark.parametrize("mistake", MISTAKES)
def test_a_mistake_is_named_in_one_line_and_its_hints_lead_on(mistake):
    line, named, hints = MISTAKES[mistake]
    name, *told = shlex.split(line)
    said = said_of(name, *told)
    assert said is not None
    assert "\n" not in said
    assert named in said
    for hint, leads_to in hints.items():
        assert hint in said
        assert said_of(name, *shlex.split(leads_to)) is None


def test_there_are_twenty_at_least():
    assert len(MISTAKES) >= 20


def test_a_hint_that_is_wrong_is_found_out():
    assert "there is no setting text.document" in said_of("validate", "+text.document=4")


def test_too_few_documents_to_fit_on_are_named_by_their_own_setting(tmp_path):
    """And the number that is named is one that there is."""
    file = tmp_path / "rows.jsonl"
    file.write_text("".join(f'{{"text": "{number} {"words " * 90}"}}\n' for number in range(80)))
    told = ["text=files", f"text.datasets.files.path={file}", "text.documents=1"]
    text = typed(compose("validate", [*told, "output_dir=somewhere"]), PROGRAMS["validate"].settings).text
    with pytest.raises(UserError, match=r"lower evaluation\.fitting_documents to \d+") as caught:
        first_documents("files", text.datasets["files"], text, 64, None)
    fewer = int(str(caught.value).split("fitting_documents to ")[1].split(",")[0])
    assert said_of("validate", *told, f"evaluation.fitting_documents={fewer}") is None
    assert "read as far as" in first_documents("files", text.datasets["files"], text, fewer, None)
    assert said_of("validate", *told, "text.datasets.files.whole=true") is None
