"""Groups of features as JSON in the layout of attribution graphs, which circuit-tracer and Neuronpedia show.

There a node is a feature at a place of the prompt, called `{layer}_{feature}_{place}`, and `qParams.supernodes` holds
lists of a name followed by nodes. What they draw as links are attributions; a matching is none, so there are none here.
"""

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from sae_match.evaluation.groups.members import Group, Member, called
from sae_match.files import written_whole

#: The file format, for whoever reads the JSON.
FORMAT, VERSION = "sae_match.feature_groups", 1
_NODE, _SCHEMA = "cross layer transcoder", 1


@dataclass(frozen=True)
class Groups:
    """Features grouped over layers.

    Attributes:
        groups: All of them, single features too.
        prompt: Whose features they are; empty where they were given.
        tokens: Of the prompt, BOS included.
        active: Of each feature, its activations by place in the prompt; empty where features were given.
        model: Name of the language model.
        alpha: Level of the matchings that join them; none where it is not known.
    """

    groups: tuple[Group, ...]
    prompt: str = ""
    tokens: tuple[str, ...] = ()
    active: Mapping[Member, Mapping[int, float]] = field(default_factory=dict)
    model: str = ""
    alpha: float | None = None

    def __len__(self) -> int:
        return len(self.groups)

    def nodes_of(self, member: Member) -> list[str]:
        """What a feature's nodes are called: one for each place where it is active; one, at 0, of a given feature."""
        return [node_id(member, place) for place in self._places(member)]

    def as_json(self) -> dict[str, Any]:
        """As nested plain values."""
        members = [member for group in self.groups for member in group.members]
        supernodes = [
            [group.name, *(node for member in group.members for node in self.nodes_of(member))]
            for group in self.groups
            if len(group.members) > 1
        ]
        return {
            "format": FORMAT,
            "version": VERSION,
            "alpha": self.alpha,
            "groups": [
                {
                    "name": group.name,
                    "layers": list(group.layers),
                    "members": [
                        {"layer": member[0], "feature": member[1], "nodes": self.nodes_of(member)}
                        for member in group.members
                    ],
                }
                for group in self.groups
            ],
            "metadata": {
                "slug": "sae-match-groups",
                "scan": self.model,
                "transcoder_list": [],
                "prompt": self.prompt,
                "prompt_tokens": list(self.tokens),
                "schema_version": _SCHEMA,
            },
            "qParams": {
                "pinnedIds": [node for names in supernodes for node in names[1:]],
                "supernodes": supernodes,
                "linkType": "both",
                "clickedId": "",
                "sg_pos": "",
            },
            "nodes": [self._node(member, place) for member in members for place in self._places(member)],
            "links": [],
        }

    def save(self, path: str | Path) -> Path:
        """Write as JSON; returns the file."""
        file = Path(path)
        file.parent.mkdir(parents=True, exist_ok=True)
        with written_whole(file) as temporary:
            temporary.write_text(json.dumps(self.as_json(), indent=1, ensure_ascii=False) + "\n", encoding="utf-8")
        return file

    def _places(self, member: Member) -> Sequence[int]:
        return sorted(self.active.get(member, {})) or [0]

    def _node(self, member: Member, place: int) -> dict[str, Any]:
        layer, feature = member
        name = node_id(member, place)
        return {
            "node_id": name,
            "jsNodeId": f"{layer}_{feature}-{place}",
            "feature": cantor(layer, feature),
            "layer": str(layer),
            "ctx_idx": place,
            "feature_type": _NODE,
            "token_prob": 0.0,
            "is_target_logit": False,
            "run_idx": 0,
            "reverse_ctx_idx": 0,
            "clerp": called(member),
            "influence": None,
            "activation": self.active.get(member, {}).get(place),
        }


def node_id(member: Member, place: int) -> str:
    """What the node of a feature at a place of the prompt is called."""
    return f"{member[0]}_{member[1]}_{place}"


def cantor(layer: int, feature: int) -> int:
    """Layer and feature as one number, by Cantor's pairing, as attribution graphs have it."""
    return (layer + feature) * (layer + feature + 1) // 2 + feature
