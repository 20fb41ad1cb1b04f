"""The presets of conf/sae, and what they come to."""

from inspect import signature

import yaml
from hydra import compose, initialize_config_dir

from sae_match.saes.collection import SAECollection
from sae_match.saes.formats import FORMATS
from sae_match.saes.settings import SAESettings
from sae_match.settings.entry import register, typed
from sae_match.settings.match import MatchSettings
from tests.conftest import ROOT

# A folder that says itself what it holds is no preset; what is named as a format is for SAEs of one's own.
FOLDER = ROOT / "conf" / "sae"


FILES = sorted(file.relative_to(FOLDER).with_suffix("").as_posix() for file in FOLDER.rglob("*.yaml"))


CHOICES = [name for name in FILES if name != "folder"]


PRESETS = [name for name in CHOICES if name not in FORMATS and "/" not in name]


def preset(name, *more):
    register(match=MatchSettings)
    overrides = [f"sae={name}", "output_dir=somewhere", *more, *(["sae.source=somewhere"] if name in FORMATS else [])]
    with initialize_config_dir(version_base="1.3", config_dir=str(ROOT / "conf")):
        return SAECollection.of(typed(compose("match", overrides), MatchSettings).sae)


def paths(collection, layer):
    one = FORMATS[collection.format]
    usual = {name: taken.default for name, taken in signature(one.load).parameters.items()}
    which = {**usual, "layer": layer, **collection.layers[layer]}
    return one.paths(**{name: which[name] for name in signature(one.paths).parameters})


def collection_of(name):
    """The collection that a file writes down; composing it takes a second, which one of each folder is worth."""
    written = yaml.safe_load((FOLDER / f"{name}.yaml").read_text("utf-8"))
    # Names of pages, which say nothing of files.
    written.pop("neuronpedia", None)
    return SAECollection.of(SAESettings(**written))
