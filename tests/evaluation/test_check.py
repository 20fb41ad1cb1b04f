"""What a run would need, asked of a hub on this machine that describes Gemma 2 2B and holds nothing."""

import json
import os
import shutil
import subprocess
import sys
from contextlib import nullcontext
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from transformers import AutoTokenizer

from sae_match import bundled
from sae_match.errors import UserError
from sae_match.evaluation.check import check
from sae_match.evaluation.passes.costs import judging_line
from sae_match.evaluation.settings import EvaluationSettings
from sae_match.matching.settings import MatcherSettings
from sae_match.model.settings import ModelSettings
from sae_match.saes.collection import SAECollection
from sae_match.saes.formats import sae_lens
from sae_match.text.batches import TextData
from sae_match.text.settings import SourceSettings, TextSettings
from tests.conftest import ROOT
from tests.evaluation.hubs import (
    EVERYTHING,
    MATCHED_ALONE,
    MODEL,
    SAE_BYTES,
    SHARD,
    SHARDS,
    TEXT,
    Hub,
    headers_of_shards,
)
from tests.evaluation.validating import collection_of, saved
from tests.saes.formats import layouts
from tests.serving import serving


@pytest.fixture(scope="module")
def said(tmp_path_factory):
    """What the command prints, and its exit status."""
    Hub.beginnings |= zip(SHARDS, headers_of_shards(), strict=True)
    folder = tmp_path_factory.mktemp("check")
    program = [sys.executable, str(ROOT / "scripts" / "validate.py"), "experiment=gemma_2_2b", "check=true"]
    command = [*program, f"hydra.run.dir={folder / 'run'}"]
    with serving(Hub) as endpoint:
        environment = {**os.environ, "HF_ENDPOINT": endpoint, "HF_HOME": str(folder / "hub"), "COLUMNS": "200"}
        done = subprocess.run(command, check=False, env=environment, capture_output=True, text=True, timeout=300)
    return done.stdout, done.returncode, done.stderr


def test_the_plan_for_the_papers_model_is_that_of_its_metadata(said):
    printed, _, errors = said
    lines = {line.split()[0]: line for line in printed.splitlines() if line.startswith("  ")}
    assert "26 layers, d = 2304, 2.61 billion parameters" in lines["model"], (printed, errors)
    assert f"{2 * SHARD / 2**30:.3g} GB to download" in lines["model"]
    assert f"{25 * SAE_BYTES / 2**30:.3g} GB" in lines["SAEs"]
    # One layer's SAE is missing, and with it two of 25 pairs.
    assert f"23, {23 * 18} arms of them in all" in lines["pairs"]
    targets = [target for target in range(1, 26) if target not in (3, 4)]
    # Between neighbours there is nothing to compose.
    forwards = 2 * 26 + 18 * sum(25 - target for target in targets)
    assert f"{forwards:,} layer-forwards and {1 + 18 * 23} heads" in lines["passes"]
    assert "307,200 at most (100 documents of 1,024 tokens of each dataset)" in lines["tokens"]
    assert "model 4.87 GB" in lines["memory"]
    assert "sparse solver" in lines["matching"]
    assert "8 random targets for each pair of layers, and 2 matchings by parts" in lines["judging"]


def test_judging_takes_as_many_matchings_as_it_has_random_targets_and_less_where_rows_are_sampled():
    assert judging_line(8, 16_384, 10.0).startswith("about 2 min more for what is not in the cache: 8 random targets")
    wide = judging_line(8, 65_536, 10.0)
    assert wide.startswith("about 30 s more")
    assert "8,192 of 65,536 features for each" in wide


def test_what_is_missing_is_named_with_what_there_is_instead(said):
    printed, status, _ = said
    missing = [line for line in printed.splitlines() if "missing" in line]
    assert status == 1
    assert len(missing) == 1
    assert "SAE of layer 3" in missing[0]
    assert "average_l0_14, average_l0_28, average_l0_142; the nearest to average_l0_59 is average_l0_28" in missing[0]


def test_nothing_but_metadata_is_downloaded(said):
    assert said[0]
    assert Hub.downloaded == []
    # Of the weights, the beginning of each file.
    assert sorted(Hub.asked) == [(name, "bytes=0-100000") for name in SHARDS]


def test_a_run_that_has_everything_misses_nothing():
    found = check(MODEL, collection_of(3, 4), MatcherSettings(), TEXT, EVERYTHING)
    assert found.missing == []
    rows = dict(found.rows)
    assert "on this machine" in rows["model"]
    assert "2 layers" in rows["SAEs"]
    # Layers 0 to 4 for the means; layers 5 to 7 and the head, for each arm but `composed`.
    assert rows["passes"] == f"{5 + 8 + 3 * 15} layer-forwards and {1 + 15} heads for each token"


def test_an_arm_that_is_another_one_by_another_name_takes_nothing():
    arms = ["matched", "matched_unfolded", "random"]
    found = check(MODEL, collection_of(3, 4), MatcherSettings(fold="none"), TEXT, EvaluationSettings(arms))
    assert dict(found.rows)["pairs"] == "1, 2 arms of them in all"


@pytest.mark.parametrize(("rotations", "judged"), [(0, []), (8, ["judging"])])
def test_where_nothing_is_measured_matching_is_said_alone(rotations, judged):
    evaluation = EvaluationSettings(["matched"], rotations=rotations)
    found = check(MODEL, collection_of(3, 4), MatcherSettings(), TEXT, evaluation, measures=False)
    assert found.missing == []
    assert found.plan is found.memory is None
    names = [name for name, _ in found.rows]
    assert names[names.index("matching") :] == ["matching", *judged]
    assert not {"pairs", "passes", "validation", "memory"} & {*names}


def test_one_of_a_thing_is_not_several(tmp_path):
    (tmp_path / "a.txt").write_text("words")
    text = TextSettings({"mine": SourceSettings("text", path=str(tmp_path))}, documents=1)
    rows = dict(check(MODEL, collection_of(3, 4), MatcherSettings(), text, MATCHED_ALONE).rows)
    assert rows["text mine"].startswith(f"{tmp_path}: 1 file,")
    assert rows["pairs"] == "1, 1 arm of them in all"
    assert "(1 document of 256 tokens of each dataset)" in rows["tokens"]
    collection = SAECollection("gemma_scope", bundled.path("saes"), layers={3: {"width": "1k", "l0": 6}})
    assert ": 1 layer, " in dict(check(MODEL, collection, MatcherSettings(), text, MATCHED_ALONE).rows)["SAEs"]


@pytest.mark.parametrize(
    ("changes", "line"),
    [
        ({"layers": {3: {"width": "1k", "l0": 6}}}, "pairs: no two adjacent layers with an SAE in"),
        ({"layers": {7: {"width": "1k", "l0": 10}, 8: {"width": "1k", "l0": 1}}}, "SAEs: SAE of layer 8: no file"),
        ({"source": "/nowhere"}, "SAEs: SAE of layer 3: /nowhere is neither a folder nor a repository"),
    ],
)
def test_each_thing_that_is_missing_has_its_line(changes, line):
    given = {"source": bundled.path("saes"), "layers": {layer: {"width": "1k", "l0": 6} for layer in (3,)}} | changes
    found = check(MODEL, SAECollection("gemma_scope", **given), MatcherSettings(), TEXT, EVERYTHING)
    assert any(entry.startswith(line) for entry in found.missing), found.missing


def test_what_lies_in_the_source_is_told_and_what_is_only_matched_is_missing(tmp_path):
    for layer in (0, 1):
        hook = {"hook_name": f"blocks.{layer}.hook_resid_post", "model_name": "m"}
        folder = tmp_path / f"layer_{layer}"
        layouts.write_sae_lens(
            folder, layouts.matrices(), architecture="standard", normalize_activations="layer_norm", metadata=hook
        )
    collection = SAECollection(
        "sae_lens", str(tmp_path), layers={layer: {"path": f"layer_{layer}"} for layer in (0, 1)}
    )
    found = check(MODEL, collection, MatcherSettings(), TEXT, EVERYTHING)
    assert "format sae_lens (by layer_0/sae_weights.safetensors and 1 more" in dict(found.rows)["source"]
    assert "layers 0, 1; sites residual; widths 10" in dict(found.rows)["source"]
    assert sum("it normalises every token by numbers of that token" in line for line in found.missing) == 2


@pytest.fixture
def unfit(tmp_path, make_sae):
    """Findings about SAEs of width 64 in half precision and texts longer than the bundled model's positions."""
    for layer in (0, 1):
        sae_lens.save(
            make_sae(layer, d_in=64, d_sae=96).to(dtype=torch.bfloat16),
            tmp_path / str(layer),
            model_name="m",
            hook_name=f"blocks.{layer}.hook_resid_post",
        )
    collection = SAECollection("sae_lens", str(tmp_path), layers={layer: {"path": str(layer)} for layer in (0, 1)})
    text = TextSettings({"code": SourceSettings("stdlib")}, max_tokens=1_000_000)
    return check(MODEL, collection, MatcherSettings(), text, EVERYTHING)


def test_what_does_not_fit_the_model_is_named(unfit):
    assert any("text.max_tokens=1000000 is more than the model's" in line for line in unfit.missing)
    for layer in (0, 1):
        assert f"SAE of layer {layer} reads width 64, the model's residual has 128" in unfit.missing


def test_files_too_small_to_tell_their_width_by_their_size_tell_it_by_their_header(tmp_path, make_sae):
    collection = saved({layer: make_sae(layer, d_in=64, d_sae=8) for layer in (0, 1)}, tmp_path)
    found = check(MODEL, collection, MatcherSettings(), TEXT, EVERYTHING)
    assert found.missing == [f"SAE of layer {layer} reads width 64, the model's residual has 128" for layer in (0, 1)]


def test_a_tokenizer_that_says_it_has_no_bos_is_named(tmp_path):
    shutil.copytree(bundled.path("model"), tmp_path / "model")
    said = tmp_path / "model" / "tokenizer_config.json"
    said.write_text(json.dumps({**json.loads(said.read_text()), "bos_token": None}))
    found = check(ModelSettings(str(tmp_path / "model")), collection_of(3), MatcherSettings(), TEXT, EVERYTHING)
    assert any(line.startswith("text: the tokenizer has no BOS token") for line in found.missing)


def test_a_model_that_is_not_there_has_its_line():
    text = TextSettings({"mine": SourceSettings("text", path=str(Path("nowhere")))})
    found = check(
        ModelSettings("/no/model"),
        SAECollection("gemma_scope", "/nowhere"),
        MatcherSettings(),
        text,
        EVERYTHING,
    )
    assert [entry.split(":")[0] for entry in found.missing] == ["model", "pairs", "text mine"]


@pytest.mark.parametrize(("bos", "missing"), [("<mine>", 1), (None, 0), ("<eos>", 0)])
def test_a_first_token_that_the_model_does_not_know_is_missing(tmp_path, bos, missing):
    shutil.copytree(bundled.path("model"), tmp_path / "model")
    tokenizer = AutoTokenizer.from_pretrained(bundled.path("model"))
    tokenizer.add_tokens(["<mine>"])
    tokenizer.save_pretrained(tmp_path / "model")
    model, text = ModelSettings(str(tmp_path / "model")), replace(TEXT, bos=bos)
    found = check(model, collection_of(3, 4), MatcherSettings(), text, MATCHED_ALONE)
    assert (
        len([line for line in found.missing if "token '<mine>', which documents begin with, has the id" in line])
        == missing
    )
    assert len(found.missing) == missing


def test_a_first_token_that_there_is_not_is_missing():
    found = check(MODEL, collection_of(3, 4), MatcherSettings(), replace(TEXT, bos="nothing"), MATCHED_ALONE)
    assert found.missing == ["text: the tokenizer has no token 'nothing'; name another text.bos"]


def test_added_tokens_that_the_model_does_not_know_are_said_unless_no_text_holds_them(tmp_path):
    shutil.copytree(bundled.path("model"), tmp_path / "model")
    tokenizer = AutoTokenizer.from_pretrained(bundled.path("model"))
    tokenizer.add_special_tokens({"additional_special_tokens": ["<special>"]})
    tokenizer.add_tokens(["def mine", "<b>", "<c>", "<d>"])
    tokenizer.save_pretrained(tmp_path / "model")
    model = ModelSettings(str(tmp_path / "model"))
    found = check(model, collection_of(3, 4), MatcherSettings(), TEXT, MATCHED_ALONE)
    (line,) = [value for name, value in found.rows if name == "warning" and "added token" in value]
    assert "4 added tokens beyond the 4096 rows of the model's embedding matrix: 'def mine' (id 4097)" in line
    assert "and 1 more. Text that holds one of them is refused" in line
    assert "<special>" not in line
    assert not found.missing
    # So it is, and one that is special stands for its letters.
    written = tmp_path / "text.txt"
    for word, refused in (("def mine", True), ("<special>", False)):
        written.write_text(f"Some {word} words and more of them. " * 40)
        own = replace(TEXT, datasets={"own": SourceSettings("text", path=str(written), whole=True)}, documents=1)
        text = TextData(own, tokenizer)
        text.setup("validate")
        with pytest.raises(UserError, match="'def mine' has the id 4097") if refused else nullcontext():
            text.refuse_tokens_beyond(4096)
