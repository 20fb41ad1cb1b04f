"""What steering and groups leave: tables, a picture, JSON; from Python and from the command line."""

import csv
import json

import pyarrow.parquet as pq
import pytest
from rich.console import Console

from sae_match import bundled, load_sae, match, steer
from sae_match.commands import steer as program
from sae_match.errors import UserError
from sae_match.evaluation.steering.measures import METRICS
from sae_match.evaluation.steering.paths import ARMS
from sae_match.report.steering.files import means_of, print_steering, steering_means, steering_picture
from tests.report.offline import about, history_names, only_run, summary_names
from tests.report.readme import small_texts
from tests.settings.composing import validate

TEXTS = ["The Congress of the United States has met in the city of Washington.", "def main(x):\n    return x + 1\n"]
QUICK = (
    "text.documents=2",
    "text.max_tokens=40",
    "text.min_tokens=8",
    "text.batch=2",
    "trainer=cpu",
    "trainer.progress=false",
)
SOME = (
    "sae=gemma_scope",
    "+sae.layers.3={width: 1k, l0: 6}",
    "+sae.layers.4={width: 1k, l0: 8}",
)


def settings_of(folder, *told):
    settings = validate(*SOME, *QUICK, *told)
    settings.sae.source = str(bundled.path("saes"))
    settings.output_dir, settings.cache_dir = str(folder / "run"), str(folder / "kept" / "matchings")
    return settings


@pytest.fixture(scope="module")
def saes():
    folder = bundled.path("saes")
    return {layer: load_sae("gemma_scope", folder, layer=layer, width="1k", l0=l0) for layer, l0 in ((3, 6), (4, 8))}


@pytest.fixture(scope="module")
def link(saes):
    return match(saes[3], saes[4])


def test_a_path_is_steered_in_one_call(bundled_model, saes, link):
    stream, tokenizer = bundled_model
    f = saes[3].encode(stream.capture(tokenizer(TEXTS[0], return_tensors="pt")["input_ids"]).residuals[3][0, 1:])
    feature = int(f.max(0).values.argmax())
    table = steer(stream, saes, {(3, 4): link}, (3, feature), TEXTS, tokenizer=tokenizer, where="first")
    assert set(table.arm) == set(ARMS)
    assert set(METRICS) <= set(table.metric)
    row = table[(table.arm == "matched") & (table.metric == "steering_effect")].iloc[0]
    assert row.value > 0
    assert row.documents == 2
    assert row.target_feature == link[feature]
    with pytest.raises(UserError, match="no path begins in the last layer, 4"):
        steer(stream, saes, {(3, 4): link}, [(4, 0)], TEXTS, tokenizer=tokenizer)
    with pytest.raises(UserError, match="SAEs are given by layer"):
        steer(stream, {3: saes[3]}, {(3, 4): link}, (3, feature), TEXTS, tokenizer=tokenizer)


def test_a_run_leaves_tables_a_picture_and_groups(tmp_path, capsys):
    told = (
        "steering.features=[[3,200],[3,123]]",
        "steering.documents=2",
        "groups.features=[[3,123],[4,352]]",
        "groups.prompts=['The Congress']",
        "groups.most=3",
        "evaluation.rotations=1",
        "logger=offline",
    )
    program.main(settings_of(tmp_path, *told))
    run = tmp_path / "run"
    table = pq.read_table(run / "steering" / "steering.parquet")
    with (run / "steering" / "steering.csv").open(encoding="utf-8") as file:
        assert len(list(csv.DictReader(file))) == table.num_rows
    assert {row["dataset"] for row in table.to_pylist()} == {"prose", "code"}
    assert (run / "figures" / "steering.png").is_file()
    given, prompt = (json.loads((run / "groups" / f"groups_{number}.json").read_text("utf-8")) for number in (0, 1))
    assert given["alpha"] == 0.05
    assert [len(group["members"]) for group in given["groups"]] in ([2], [1, 1])
    assert prompt["metadata"]["prompt_tokens"][0] == "<bos>"
    assert all(node["activation"] > 0 for node in prompt["nodes"])
    records = only_run(run)
    assert about(records)["job_type"] == "steer"
    assert {"steering", "figures/steering", "numbers/steering"} <= history_names(records)
    assert set(steering_means(table)) <= summary_names(records)
    assert "steering_effect/prose/matched/first/L03-L04" in steering_means(table), steering_means(table).keys()
    said = capsys.readouterr().out
    assert "wandb sync" in said
    assert "What steering does to later features" in said
    assert "groups/groups_1.json" in said
    for picture in steering_picture(table):
        assert small_texts(picture.figure) == []
        assert picture.rows
    print_steering(Console(width=80), table)
    assert means_of(table)


@pytest.mark.parametrize(
    ("told", "message"),
    [
        (("steering.features=[[9,1]]",), "9"),
        (("steering.features=[[4,1]]",), "no path begins in the last layer, 4"),
        (("groups.features=[[3,1]]", "evaluation.rotations=0"), "set evaluation.rotations to at least 1"),
    ],
)
def test_what_cannot_be_steered_is_refused(told, message, tmp_path):
    settings = settings_of(tmp_path, *told)
    with pytest.raises(UserError, match=message):
        program.main(settings)
