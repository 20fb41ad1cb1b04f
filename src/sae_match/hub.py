"""What the Hugging Face hub answers when it does not give what was asked for, in one line each."""

import re
from collections.abc import Iterator, Mapping
from contextlib import contextmanager

import httpx2
from huggingface_hub.errors import (
    EntryNotFoundError,
    GatedRepoError,
    HfHubHTTPError,
    HFValidationError,
    LocalEntryNotFoundError,
    OfflineModeIsEnabled,
    RepositoryNotFoundError,
    RevisionNotFoundError,
)

from sae_match.errors import UserError
from sae_match.network import environment_trouble


class UnansweredError(UserError):
    """The hub does not answer, or not this user: to ask it for something else is of no use."""


_RESET = re.compile(r"\bt=(\d+)")
_LOG_IN = "log in with `hf auth login` or set HF_TOKEN"


@contextmanager
def hub_errors(what: str) -> Iterator[None]:
    """Turn every failure of the hub inside the block into a `UserError` with its remedy.

    Args:
        what: Repository, and file if there is one, that is asked for.
    """
    try:
        yield
    except HFValidationError as error:
        raise UserError(f"{what} is neither a folder nor the name of a repository") from error
    except (LocalEntryNotFoundError, OfflineModeIsEnabled) as error:
        # It only says that the cache does not help; what the hub answered, if it did, is its cause.
        if isinstance(error.__cause__, HfHubHTTPError):
            with hub_errors(what):
                raise error.__cause__ from error
        _refuse_environment(error)
        raise UnansweredError(f"cannot reach the hub for {what}, and it is not in the local cache") from error
    except GatedRepoError as error:
        raise UnansweredError(f"{what} is gated: accept its terms on its page on the hub, then {_LOG_IN}") from error
    except RevisionNotFoundError as error:
        raise UserError(f"{what} has no such revision") from error
    except RepositoryNotFoundError as error:
        raise UserError(f"no repository {what} on the hub, or it is private: check the name, or {_LOG_IN}") from error
    except EntryNotFoundError as error:
        raise UserError(f"there is no {what} on the hub") from error
    except HfHubHTTPError as error:
        raise _refusal(what, error) from error
    except (httpx2.HTTPError, httpx2.InvalidURL, OSError, ImportError) as error:
        _refuse_environment(error)
        reason = str(error).strip().splitlines() or [type(error).__name__]
        raise UnansweredError(f"cannot reach the hub for {what}: {reason[0]}") from error
    except ValueError as error:
        # A proxy whose address is none; all else that is a `ValueError` is no matter of the hub.
        if not isinstance(error, UserError):
            _refuse_environment(error)
        raise


def _refuse_environment(error: Exception) -> None:
    """Say what in the environment keeps every client from being made, if it is that."""
    if (trouble := environment_trouble()) is not None:
        raise UnansweredError(trouble) from error


def _refusal(what: str, error: HfHubHTTPError) -> UserError:
    status = error.response.status_code
    if status in (401, 403):
        return UnansweredError(
            f"{what}: the hub does not let you in ({status}): {_LOG_IN}, with a token that may read it"
        )
    if status == 429:
        return UnansweredError(
            f"{what}: the hub has too many requests from here (429); try again {_waiting(error.response.headers)}"
        )
    if status >= 500:
        return UnansweredError(f"{what}: the hub is in trouble ({status}); try again later")
    return UserError(f"{what}: the hub refuses ({status}): {str(error).strip().splitlines()[0]}")


def _waiting(headers: Mapping[str, str]) -> str:
    """How long a hub that has had too many requests says to wait: `retry-after`, or `t` of `ratelimit`."""
    seconds = headers.get("retry-after") or next(iter(_RESET.findall(headers.get("ratelimit", ""))), None)
    return f"in {seconds} s" if seconds else "later"
