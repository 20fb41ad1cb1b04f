"""What the Hugging Face hub answers when it does not give what was asked for, in one line each."""

from collections.abc import Iterator
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
        raise UserError(f"cannot reach the hub for {what}, and it is not in the local cache") from error
    except GatedRepoError as error:
        raise UserError(f"{what} is gated: accept its terms on its page on the hub, then {_LOG_IN}") from error
    except RevisionNotFoundError as error:
        raise UserError(f"{what} has no such revision") from error
    except RepositoryNotFoundError as error:
        raise UserError(f"no repository {what} on the hub, or it is private: check the name, or {_LOG_IN}") from error
    except EntryNotFoundError as error:
        raise UserError(f"there is no {what} on the hub") from error
    except HfHubHTTPError as error:
        raise UserError(f"{what}: {_refusal(error)}") from error
    except (httpx2.HTTPError, OSError) as error:
        reason = str(error).strip().splitlines() or [type(error).__name__]
        raise UserError(f"cannot reach the hub for {what}: {reason[0]}") from error


def _refusal(error: HfHubHTTPError) -> str:
    status = error.response.status_code
    if status in (401, 403):
        return f"the hub does not let you in ({status}): {_LOG_IN}, with a token that may read it"
    if status == 429:
        wait = error.response.headers.get("retry-after")
        return f"the hub has too many requests from here (429); try again {f'in {wait} s' if wait else 'later'}"
    if status >= 500:
        return f"the hub is in trouble ({status}); try again later"
    return f"the hub refuses ({status}): {str(error).strip().splitlines()[0]}"
