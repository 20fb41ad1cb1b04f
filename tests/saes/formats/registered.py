"""Every dictionary that the package sae-lens lists: whether our loaders open it, by what its files are called."""

import re
from collections import Counter
from dataclasses import dataclass
from functools import cache
from importlib.util import find_spec
from inspect import signature
from pathlib import Path
from typing import Any

import yaml

from sae_match.saes.formats import FORMATS
from sae_match.saes.formats.looking import recognised
from sae_match.saes.formats.shared.kinds import unreadable

# The files of a dictionary, by the package's loader, from the path that the list gives.
FILES = {
    "gemma_3": ("{}/params.safetensors",),
    "gemma_2": ("{}/params.npz",),
    "gemma_2_transcoder": ("{}/params.npz",),
    "dictionary_learning_1": ("{}/ae.pt", "{}/config.json"),
    "qwen_scope": ("{}",),
    "sae_lens": ("{}/sae_weights.safetensors", "{}/cfg.json"),
    "mwhanna_transcoder": ("{}",),
    "llama_scope": ("{}/checkpoints/final.safetensors", "{}/hyperparams.json"),
    "llama_scope_r1_distill": ("{}/sae_weights.safetensors", "{}/config.json"),
    "connor_rob_hook_z": ("{}",),
    "goodfire": ("{}",),
    "deepseek_r1": ("{}",),
    "mntss_clt_layer_transcoder": ("W_enc_{}.safetensors", "W_dec_{}.safetensors"),
    "temporal": ("{}/latest_ckpt.safetensors", "{}/conf.yaml"),
}
# What a dictionary reads, by the first word of its release or path that says it.
_SITES = (
    (r"transcoder|clt", "transcoder"),
    (r"hook[-_]z|\battn?\b|attn[-_]out|-att|lxa", "attention"),
    (r"mlp|lxm", "MLP"),
    (r"", "residual"),
)


@dataclass(frozen=True)
class Registered:
    """A dictionary of the list: where it is, and the format and choice that open it, or why nothing does."""

    release: str
    loader: str
    source: str
    path: str
    l0: Any
    format: str | None
    which: dict[str, Any]

    @property
    def site(self) -> str:
        told = f"{self.release} {self.path}".lower()
        return next(site for pattern, site in _SITES if re.search(pattern, told))


@cache
def the_list() -> dict[str, Any]:
    """The package's list, without importing the package, which takes seconds."""
    [folder] = find_spec("sae_lens").submodule_search_locations
    text = (Path(folder) / "pretrained_saes.yaml").read_text(encoding="utf-8")
    return yaml.load(text, getattr(yaml, "CSafeLoader", yaml.SafeLoader))


@cache
def registered() -> tuple[Registered, ...]:
    layouts = {name: one.layout for name, one in FORMATS.items()}
    found = []
    for release, about in the_list().items():
        loader = about.get("conversion_func") or "sae_lens"
        for one in about["saes"]:
            path = str(one["path"])
            fitting = recognised([file.format(path) for file in FILES[loader]], layouts)
            name, which = next(((name, *each.values()) for name, each in fitting.items()), (None, {}))
            assert len(fitting) <= 1
            found.append(Registered(release, loader, about["repo_id"], path, one.get("l0"), name, opening(name, which)))
    return tuple(found)


def opening(name: str | None, which: dict[str, Any]) -> dict[str, Any]:
    """What the format's loader takes to open it; what nothing names is any layer."""
    if name is None:
        return {}
    given = {"layer": which.get("embedding", 0), **{key: value for key, value in which.items() if key != "embedding"}}
    signature(FORMATS[name].load).bind("somewhere", **given)
    return given


def files_of(one: Registered) -> list[str]:
    """The files that our loader reads."""
    paths, given = FORMATS[one.format].paths, {"site": None, **one.which}
    return list(paths(**{key: given[key] for key in signature(paths).parameters}))


def refusal(one: Registered) -> str | None:
    """Why it is refused, in the words of `describe`."""
    return unreadable(file.format(one.path) for file in FILES[one.loader])


def table() -> str:
    """How many of them are openable, by the package's loader and by site."""
    everything = registered()
    rows = [
        "| loader of `sae-lens` | format here | sites | releases | dictionaries | openable |",
        "|---|---|---|---|---|---|",
    ]
    for loader, count in Counter(one.loader for one in everything).most_common():
        mine = [one for one in everything if one.loader == loader]
        formats = sorted({f"`{one.format}`" for one in mine if one.format}) or ["refused"]
        sites = Counter(one.site for one in mine)
        told = ", ".join(f"{site} {number:,}" for site, number in sites.most_common())
        opened = sum(one.format is not None for one in mine)
        releases = len({one.release for one in mine})
        rows.append(f"| `{loader}` | {', '.join(formats)} | {told} | {releases} | {count:,} | {opened:,} |")
    opened = sum(one.format is not None for one in everything)
    rows.append(f"| all | | | {len(the_list())} | {len(everything):,} | {opened:,} ({opened / len(everything):.1%}) |")
    loaders = {one.loader: one for one in everything if one.format is None}
    refused = [f"- `{loader}`: {refusal(one)}." for loader, one in loaders.items()]
    return "\n".join([*rows, "", *refused])


if __name__ == "__main__":
    print(table())
