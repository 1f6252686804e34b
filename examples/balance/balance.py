#!/usr/bin/python3
"""A contract that keeps a balance sheet in its heap.

It reads one Dragonchain transaction on standard input. The payload is one of

    {"method": "deposit", "to": "alice", "amount": 20}
    {"method": "transfer", "from": "alice", "to": "bob", "amount": 5}

and the answer, on standard output, is the JSON object of what changed. Each member becomes a key of the heap, all in one
transaction:

    {"account-alice": 15, "account-bob": 5, "last": {"txn_id": "...", "method": "transfer", "amount": 5}}

A transaction that is refused ends with a reason on standard error and exit code 1: then the caller gets an error and the
heap stays as it was. Amounts are whole numbers of the smallest unit.

The balances it starts from it reads from its own heap:

    HEAP_URL      address of the heap; default http://gateway.openfaas:8080/heap/balance
    HEAP_SECRET   file that holds user:password; default /var/openfaas/secrets/heap-reader
"""

import base64
import http.client
import json
import os
import re
import sys
import urllib.parse

ACCOUNT = re.compile(r"[a-z0-9][a-z0-9-]{0,62}\Z")
# The largest whole number that every JSON reader keeps exact (RFC 8259, section 6).
LARGEST = 2**53 - 1


class Refused(Exception):
    """The transaction asks for something that cannot be done. The text says what, to whoever sent it."""


class HeapUnreadable(Exception):
    """The balances are not known, so nothing may be changed. Trying again later may help."""


class Heap:
    """The contract's own heap, read over HTTP."""

    def __init__(self, url, credentials):
        self.url = urllib.parse.urlsplit(url)
        self.authorization = "Basic " + base64.b64encode(credentials.encode()).decode()

    def balance(self, account):
        """Return what the account holds; an account that was never written holds nothing."""
        status, body = self._get(heap_key(account))
        if status == 404:
            return 0
        if status != 200:
            raise HeapUnreadable(f"reading {heap_key(account)}: status {status}")
        try:
            return whole_number(json.loads(body), smallest=0)
        except ValueError as error:
            raise HeapUnreadable(f"reading {heap_key(account)}: {error}") from error

    def _get(self, key):
        connection = http.client.HTTPConnection(self.url.hostname, self.url.port, timeout=5)
        try:
            connection.request("GET", f"{self.url.path}/{key}", headers={"Authorization": self.authorization})
            response = connection.getresponse()
            return response.status, response.read()
        except (OSError, http.client.HTTPException) as error:
            raise HeapUnreadable(f"reading {key}: {error}") from error
        finally:
            connection.close()


def heap_key(account):
    return "account-" + account


def whole_number(value, smallest):
    # A bool is an int in Python, and would count as 0 or 1.
    if type(value) is not int or not smallest <= value <= LARGEST:
        raise ValueError(f"{value!r} is not a whole number from {smallest} to {LARGEST}")
    return value


def parse_transaction(text):
    """Return transaction id and payload of a full Dragonchain transaction."""
    try:
        transaction = json.loads(text)
    except (ValueError, RecursionError) as error:
        raise Refused(f"the input is not JSON: {error}") from error
    if not isinstance(transaction, dict) or not isinstance(transaction.get("header"), dict):
        raise Refused("the input is not a transaction: it has no header")
    txn_id = transaction["header"].get("txn_id")
    if not isinstance(txn_id, str) or not txn_id:
        raise Refused("the header has no txn_id")
    payload = transaction.get("payload")
    if isinstance(payload, str):  # the chain passes a payload on as it was posted, object or text
        try:
            payload = json.loads(payload)
        except (ValueError, RecursionError) as error:
            raise Refused(f"the payload is not JSON: {error}") from error
    if not isinstance(payload, dict):
        raise Refused("the payload is not an object")
    return txn_id, payload


def account_in(payload, field):
    name = payload.get(field)
    if not isinstance(name, str) or not ACCOUNT.match(name):
        raise Refused(f'"{field}" is not an account: small letters, digits and hyphens, at most 63')
    return name


def amount_in(payload):
    try:
        return whole_number(payload.get("amount"), smallest=1)
    except ValueError as error:
        raise Refused(f'"amount": {error}') from error


def add(balance, amount, account):
    if balance + amount > LARGEST:
        raise Refused(f"{account} cannot hold more than {LARGEST}")
    return balance + amount


def deposit(payload, balance_of):
    to, amount = account_in(payload, "to"), amount_in(payload)
    return {heap_key(to): add(balance_of(to), amount, to)}


def transfer(payload, balance_of):
    source, to, amount = account_in(payload, "from"), account_in(payload, "to"), amount_in(payload)
    if source == to:
        raise Refused('"from" and "to" are the same account')
    held = balance_of(source)
    if held < amount:
        raise Refused(f"insufficient funds: {source} holds {held}, {amount} asked for")
    return {heap_key(source): held - amount, heap_key(to): add(balance_of(to), amount, to)}


METHODS = {"deposit": deposit, "transfer": transfer}


def run(text, balance_of):
    """Return what a transaction changes in the heap."""
    txn_id, payload = parse_transaction(text)
    name = payload.get("method")
    method = METHODS.get(name) if isinstance(name, str) else None
    if method is None:
        raise Refused(f'"method" is not one of {", ".join(sorted(METHODS))}')
    changes = method(payload, balance_of)
    changes["last"] = {"txn_id": txn_id, "method": name, "amount": payload["amount"]}
    return changes


def open_heap():
    secret = os.environ.get("HEAP_SECRET", "/var/openfaas/secrets/heap-reader")
    try:
        with open(secret, encoding="utf-8") as file:
            credentials = file.read().strip()
    except (OSError, ValueError) as error:
        raise HeapUnreadable(f"reading the heap's credentials: {error}") from error
    return Heap(os.environ.get("HEAP_URL", "http://gateway.openfaas:8080/heap/balance"), credentials)


def main():
    try:
        changes = run(sys.stdin.buffer.read(), open_heap().balance)
    except (Refused, HeapUnreadable) as error:
        print(f"{type(error).__name__}: {error}", file=sys.stderr)
        return 1
    print(json.dumps(changes))
    return 0


if __name__ == "__main__":
    code = main()
    sys.stdout.flush()
    # The caller waits for this end, and Python would take some milliseconds to tidy up for it.
    os._exit(code)
