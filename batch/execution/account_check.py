"""Check whether a key may work in a folder: once for each new key, and only when there is something to do.

A folder belongs to one service and account. A new key belongs to the same account when the history under it lists a
request of this folder; where the history cannot show that, a person may confirm it. The check sends nothing but GETs of
the history, which are free.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from batch.client.client import Client
from batch.client.history import look_up
from batch.core.config import LOCAL_ACCOUNT, LOCAL_SERVICE
from batch.core.errors import FolderError, KeyRefused, NoResponse, RunStopped, UsageError
from batch.core.visible import visible
from batch.ledger import accounts
from batch.ledger.accounts import How, Standing
from batch.ledger.meta import Meta

if TYPE_CHECKING:
    from batch.core.config import Account, Service
    from batch.ledger.ledger import Ledger

NO_KEY = (
    "There is no API key. Set SEGMIND_API_KEY, or give --api-key-file, or put it in a .env beside the manifest; "
    "or add --local to run against the server on this machine, which needs none."
)


@dataclass(frozen=True, slots=True)
class Proof:
    """The history's evidence about a new key: the request of this folder that it lists, or why it proves nothing."""

    request_id: str | None
    why: str = ""


def check_service(ledger: Ledger, service: Service | None) -> None:
    """Raise FolderError when the folder belongs to another service; a remote one without a key has not been chosen."""
    account = LOCAL_ACCOUNT if service is None else service.account
    bound = ledger.meta(Meta.SERVICE)
    chosen = service is None or service.api_key or bound == LOCAL_SERVICE
    if chosen and accounts.standing(ledger, account) is Standing.ELSEWHERE:
        raise FolderError(_elsewhere(ledger, account))


async def admit(ledger: Ledger, service: Service | None, *, same_account: bool = False) -> Account:
    """Let a service work in a folder, or raise; call it only when there is something to send, fetch or reconcile.

    A new key is proven by the history, or confirmed by a person with `same_account`, and is remembered. Return the
    account, for `bind` in the transaction that begins the work. Raises UsageError when there is no key, FolderError when
    the folder belongs to another service, or the account is not shown to be the same; RunStopped when the key is refused.
    """
    account = LOCAL_ACCOUNT if service is None else service.account
    if service is not None and not (service.local or service.api_key):
        raise UsageError(NO_KEY)
    found = accounts.standing(ledger, account)
    if found is Standing.ELSEWHERE:
        raise FolderError(_elsewhere(ledger, account))
    if found is not Standing.NEW_KEY or service is None:
        return account
    if same_account:
        how = How.SAID
    else:
        proof = await prove(ledger, service)
        if proof.request_id is None:
            raise FolderError(_unproven(ledger, account, proof.why))
        how = How.HISTORY
    with ledger.atomic():
        accounts.note(ledger, account, how)
    return account


async def prove(ledger: Ledger, service: Service) -> Proof:
    """Ask the history under a key for requests of this folder; one that it lists is enough. Changes nothing.

    Raises RunStopped when the key is refused.
    """
    asked = accounts.requests(ledger)
    if not asked:
        return Proof(
            None, "no request of this folder has an id yet that the account's history could be asked for"
        )
    async with Client(service, clock=ledger.clock) as client:
        for request_id in asked:
            try:
                if await look_up(client, request_id) is not None:
                    return Proof(request_id)
            except KeyRefused as exc:
                raise RunStopped(
                    f"The key was not accepted ({exc.status}). Nothing was sent. Check SEGMIND_API_KEY, or where else the "
                    "key comes from, then run the same command."
                ) from exc
            except NoResponse as exc:
                return Proof(None, f"the account's history is out of reach ({visible(str(exc))})")
    return Proof(None, "its account's history lists none of this folder's requests that it was asked for")


def _elsewhere(ledger: Ledger, account: Account) -> str:
    bound = ledger.meta(Meta.SERVICE) or ""
    return (
        f"{ledger.path.parent}: belongs to {_named(bound)}, this run is for {_named(account.host)}. "
        f"Use another --out folder{', or add --local' if bound == LOCAL_SERVICE else ''}."
    )


def _named(host: str) -> str:
    return str(LOCAL_ACCOUNT) if host == LOCAL_SERVICE else host


def _unproven(ledger: Ledger, account: Account, why: str) -> str:
    known = ", ".join(seen.fingerprint for seen in accounts.keys(ledger)) or "unknown"
    return (
        f"{ledger.path.parent}: belongs to an account of {account.host} whose keys are known (fingerprints: {known}); the "
        f"key {account.key} is new here, and {why}. Nothing was sent. Give --same-account if the new key belongs to the "
        "same account; else use another --out folder."
    )
