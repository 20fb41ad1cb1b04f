"""What a server understands of the protocol: the newer and rarer parts are left out where it objects to them."""

from dataclasses import dataclass, replace
from typing import Any

from openai import APIStatusError

from sae_match.semantics.judge.rubric import SCHEMA, Rubric

# A request that a server does not understand.
_OBJECTIONS = (400, 422, 501)
# What some answer to the schema, though it is said of models that are not there or of passing trouble.
_STUMBLES = (404, 500)
# What servers call the schema.
_OF_SCHEMA = ("response_format", "json_schema", "grammar", "structured", "schema", "requested parameters")


@dataclass(frozen=True)
class Dialect:
    """Parts of a request that a server takes.

    Attributes:
        structured: Answers that follow a schema.
        system: The role `system`, which some models' templates lack.
        seed: A seed.
        temperature: A temperature; some reasoning models take only their own.
        bound: What the bound of an answer's tokens is called.
    """

    structured: bool = True
    system: bool = True
    seed: bool = True
    temperature: bool = True
    bound: str = "max_tokens"

    def request(self, rubric: Rubric, first: str, second: str, seed: int, max_tokens: int) -> dict[str, Any]:
        """The request for one order of a pair, but for the model."""
        messages = rubric.messages(first, second, structured=self.structured, system=self.system)
        request: dict[str, Any] = {"messages": messages, self.bound: max_tokens}
        if self.structured:
            request["response_format"] = SCHEMA
        if self.temperature:
            request["temperature"] = 0
        if self.seed:
            request["seed"] = seed
        return request

    def without_what_is_refused(self, error: APIStatusError) -> "Dialect | None":
        """The dialect without what a server objects to; none if it is something that cannot be left out."""
        words = f"{error.param or ''} {error.message}".lower()
        if error.status_code in _STUMBLES:
            return self._simpler() if any(word in words for word in _OF_SCHEMA) else None
        if error.status_code not in _OBJECTIONS or error.code in ("content_filter", "context_length_exceeded"):
            return None
        if "max_completion_tokens" in words and self.bound == "max_tokens":
            return replace(self, bound="max_completion_tokens")
        if "temperature" in words and self.temperature:
            return replace(self, temperature=False)
        if "seed" in words and self.seed:
            return replace(self, seed=False)
        without_system = "system" in words and "role" in words and self.system
        return replace(self, system=False) if without_system else self._simpler()

    def _simpler(self) -> "Dialect | None":
        return self.without_schema() if self.structured else None

    def without_schema(self) -> "Dialect":
        """The dialect that asks for a closing line instead of an object."""
        return replace(self, structured=False)

    def lacks(self, other: "Dialect") -> str:
        """What another dialect has and this one does not, for a log."""
        names = {"structured": "structured output", "system": "the role system"}
        parts = [names.get(name, name) for name, value in vars(other).items() if getattr(self, name) != value]
        return ", ".join(other.bound if part == "bound" else part for part in parts)
