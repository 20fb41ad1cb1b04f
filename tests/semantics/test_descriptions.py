from dataclasses import replace

import pytest
from omegaconf import OmegaConf

from sae_match.errors import UserError
from sae_match.saes.collection import SAECollection
from sae_match.semantics.descriptions import open_descriptions
from sae_match.semantics.settings import DescriptionSettings
from tests.semantics.mini_neuronpedia import FOLDER, MODEL, SOURCE, MiniNeuronpedia, export, lines, row

OTHER = "21-gemmascope-res-16k"
NAMES = {20: (MODEL, SOURCE), 21: (MODEL, OTHER)}


@pytest.fixture(autouse=True)
def no_key(monkeypatch):
    monkeypatch.delenv("NEURONPEDIA_API_KEY", raising=False)


def collection(names=NAMES):
    return SAECollection("gemma_scope", "here", layers={20: {}, 21: {}, 22: {}}, neuronpedia=names)


def opened(server, cache, **changed):
    settings = {"timeout": 0.5, "tries": 2, "back_off": 0.01, "requests_per_hour": 1e9, **changed}
    settings = DescriptionSettings(cache_dir=str(cache), export=server.address, api=server.address, **settings)
    return open_descriptions(settings, collection())


def test_features_are_described_from_the_export_and_linked(tmp_path):
    with MiniNeuronpedia(export(30)) as server:
        descriptions = opened(server, tmp_path)
        assert server.asked == []
        assert descriptions.of(20, 7) == "what 7 means"
        assert descriptions.of(20, 16000) is None
        assert descriptions.of(20, -1) is None
        assert descriptions.link(20, 7) == f"{server.address}/{MODEL}/{SOURCE}/7"
        assert descriptions.link(20, -1) is None
        # No source is named for layer 22, and none of layer 21 was asked for.
        assert descriptions.of(22, 7) is None
        assert descriptions.link(22, 7) is None
        assert not [path for path in server.asked if OTHER in path]


def test_the_pages_are_neuronpedias_unless_told_otherwise():
    descriptions = open_descriptions(DescriptionSettings(), collection())
    assert descriptions.link(20, 10956) == "https://www.neuronpedia.org/gemma-2-2b/20-gemmascope-res-16k/10956"


def test_a_source_without_an_export_is_asked_for_by_feature(tmp_path, caplog):
    answers = {f"{MODEL}/{OTHER}/3": {"explanations": [row(3, "by the API", layer=OTHER)]}}
    with MiniNeuronpedia(export(30), answers) as server:
        for _ in range(2):
            descriptions = opened(server, tmp_path)
            assert descriptions.of(21, 3) == "by the API"
            assert descriptions.of(21, 4) is None
            assert descriptions.of(20, 3) == "what 3 means"
        single = [path for path in server.asked if path.startswith("/api/")]
        assert single == [f"/api/feature/{MODEL}/{OTHER}/{feature}" for feature in (3, 4)]
    assert f"no explanations of {MODEL}/{OTHER} in the export; asking for single features" in caplog.text


def test_the_api_alone(tmp_path):
    answers = {f"{MODEL}/{SOURCE}/3": {"explanations": [row(3, "by the API")]}}
    with MiniNeuronpedia(export(30), answers) as server:
        assert opened(server, tmp_path, mode="api").of(20, 3) == "by the API"
        assert server.asked == [f"/api/feature/{MODEL}/{SOURCE}/3"]


def test_features_that_the_export_does_not_describe_can_be_asked_for(tmp_path):
    rows = {f"{FOLDER}/explanations/batch-0.jsonl.gz": lines([row(3, "from the export"), row(4, " ")])}
    answers = {f"{MODEL}/{SOURCE}/{n}": {"explanations": [row(n, "by the API")]} for n in (3, 4, 5)}
    with MiniNeuronpedia(rows, answers) as server:
        descriptions = opened(server, tmp_path, mode="both")
        descriptions.fetch({20: range(3, 7)})
        expected = ["from the export", "by the API", "by the API", None]
        for _ in range(2):
            assert [descriptions.of(20, feature) for feature in range(3, 7)] == expected
        assert [path for path in server.asked if "api" in path] == [
            f"/api/feature/{MODEL}/{SOURCE}/{feature}" for feature in (4, 5, 6)
        ]
        assert [opened(server, tmp_path).of(20, feature) for feature in (3, 4)] == ["from the export", None]


@pytest.mark.parametrize("kept", [False, True])
def test_what_is_known_is_known_without_asking(tmp_path, kept):
    """An answer that an earlier run has kept changes nothing: the same command draws the same features again."""
    rows = {f"{FOLDER}/explanations/batch-0.jsonl.gz": lines([row(3, "from the export"), row(4, " ")])}
    answers = {f"{MODEL}/{SOURCE}/{n}": {"explanations": [row(n, "by the API")]} for n in (3, 4)}
    with MiniNeuronpedia(rows, answers) as server:
        if kept:
            opened(server, tmp_path, mode="both").fetch({20: range(6)})
        expected = {
            "export": [False, False, False, True, False, False],
            "api": [True] * 6,
            "both": [True] * 6,
        }
        for mode, known in expected.items():
            asked = len([path for path in server.asked if "api" in path])
            descriptions = opened(server, tmp_path, mode=mode)
            assert descriptions.known(20, 6) == known
            assert len([path for path in server.asked if "api" in path]) == asked
            if mode != "export":
                descriptions.fetch({20: [2, 3, 4]})
                assert descriptions.known(20, 6) == [True, True, False, True, True, True]
        assert opened(server, tmp_path).known(22, 3) == [False] * 3


def test_the_export_alone_says_that_a_source_is_missing(tmp_path):
    with MiniNeuronpedia(export(30)) as server:
        descriptions = opened(server, tmp_path, mode="export")
        with pytest.raises(UserError, match=rf"no explanations of {MODEL}/{OTHER} in the export at .*check sae.neuron"):
            descriptions.of(21, 3)
        assert not [path for path in server.asked if path.startswith("/api/")]


def test_what_is_wanted_can_be_fetched_beforehand(tmp_path):
    answers = {f"{MODEL}/{OTHER}/{n}": {"explanations": [row(n, f"{n}", layer=OTHER)]} for n in (3, 5)}
    with MiniNeuronpedia(export(6), answers) as server:
        descriptions, seen = opened(server, tmp_path), []
        descriptions.fetch({21: [5, 3, 4], 20: [1], 22: [0]}, lambda *told: seen.append(told))
        asked = len(server.asked)
        assert [descriptions.of(21, feature) for feature in (3, 4, 5)] == ["3", None, "5"]
        assert descriptions.of(20, 5) == "what 5 means"
        assert len(server.asked) == asked
    assert seen == [
        (f"descriptions of {MODEL}/{SOURCE}", 1, 2),
        (f"descriptions of {MODEL}/{SOURCE}", 2, 2),
        *((f"descriptions of {MODEL}/{OTHER}", done, 3) for done in (1, 2, 3)),
    ]


def test_the_rule_for_several_explanations_can_be_set(tmp_path):
    rows = [row(3, "first"), row(3, "second", id="z", explanationModelName="claude"), row(3, " ", id="a")]
    with MiniNeuronpedia({f"{FOLDER}/explanations/batch-0.jsonl.gz": lines(rows)}) as server:
        assert opened(server, tmp_path).of(20, 3) == "first"
        assert opened(server, tmp_path, prefer=["claude"]).of(20, 3) == "second"
        # What was fetched holds them all: another rule asks for nothing.
        assert len(server.asked) == 2


def test_a_folder_needs_no_server(tmp_path):
    file = tmp_path / FOLDER / "explanations" / "batch-0.jsonl.gz"
    file.parent.mkdir(parents=True)
    file.write_bytes(lines([row(3, "from a file")]))
    settings = DescriptionSettings(folder=str(tmp_path), export="http://127.0.0.1:9", api="http://127.0.0.1:9")
    descriptions = open_descriptions(settings, collection())
    assert descriptions.of(20, 3) == "from a file"
    with pytest.raises(UserError, match=f"no explanations of {MODEL}/{OTHER} in"):
        descriptions.of(21, 3)
    with pytest.raises(UserError, match=r"whose descriptions are in .*\? sae\.neuronpedia names no model"):
        open_descriptions(settings, collection({}))
    with pytest.raises(UserError, match=r"descriptions\.folder=/no/such is no folder"):
        open_descriptions(DescriptionSettings(folder="/no/such"), collection())


def test_answers_are_kept_with_what_else_a_run_keeps_unless_told_otherwise(tmp_path):
    answers = {f"{MODEL}/{SOURCE}/3": {"explanations": [row(3, "by the API")]}}
    with MiniNeuronpedia(export(4), answers) as server:
        settings = DescriptionSettings(mode="api", export=server.address, api=server.address)
        for told, expected in ((None, "caches"), (str(tmp_path / "own"), "own")):
            kept = replace(settings, cache_dir=told).kept_in(tmp_path / "caches")
            assert open_descriptions(kept, collection()).of(20, 3) == "by the API"
            assert [file.parent.name for file in (tmp_path / expected / "neuronpedia").rglob("3.json")] == [SOURCE]
    assert settings.cache_dir is None


def test_there_are_none_where_none_are_wanted_or_named():
    assert open_descriptions(DescriptionSettings(mode="none"), collection()) is None
    assert open_descriptions(DescriptionSettings(), collection({})) is None


@pytest.mark.parametrize(
    ("changed", "message"),
    [
        ({"mode": "bulk"}, r"unknown descriptions\.mode 'bulk'; there are auto, export, api, both, none"),
        ({"tries": 0}, "tries at least 1"),
        ({"requests_per_hour": 0.0}, "requests_per_hour must be positive"),
        ({"export": "neuronpedia"}, "'neuronpedia' is no address"),
        ({"api": ""}, "'' is no address"),
    ],
)
def test_settings_are_checked(changed, message):
    with pytest.raises(UserError, match=message):
        open_descriptions(DescriptionSettings(**changed), collection())


def test_names_are_checked():
    with pytest.raises(UserError, match=r"'\.\./\.\.' is no source of Neuronpedia"):
        open_descriptions(DescriptionSettings(), collection({20: (MODEL, "../..")}))


def test_hydra_can_fill_the_settings():
    filled = OmegaConf.to_object(OmegaConf.merge(OmegaConf.structured(DescriptionSettings), {"prefer": ["gpt-4o"]}))
    assert filled == DescriptionSettings(prefer=["gpt-4o"])
