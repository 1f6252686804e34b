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

The balances it starts from it reads from its own heap, at the URL that comes with the call, and it sets each only if nobody has set
it meanwhile: any number of transactions may run beside each other.
"""

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
    """The balances cannot be had, so nothing is changed. Trying again later may help."""


class Heap:
    """What this call sees of the contract's heap, and changes in it when it succeeds."""

    def __init__(self, url):
        url = urllib.parse.urlsplit(url)
        self.path = url.path
        self.connection = http.client.HTTPConnection(url.hostname, url.port, timeout=5)

    def change(self, account, to):
        """Make what the account holds to(that), and return it; an account that was never written holds nothing."""
        while True:
            held, condition = self._read(account)
            new = to(held)
            if self._write(account, new, condition):
                return new

    def _read(self, account):
        """Return what the account holds, and the condition that it still does."""
        response, body = self._ask("GET", account)
        if response.status == 404:
            return 0, {"If-None-Match": "*"}
        if response.status != 200:
            raise HeapUnreadable(f"reading {heap_key(account)}: status {response.status}")
        try:
            return whole_number(json.loads(body), smallest=0), {"If-Match": response.headers["ETag"]}
        except ValueError as error:
            raise HeapUnreadable(f"reading {heap_key(account)}: {error}") from error

    def _write(self, account, amount, condition):
        """Return whether the account is as it was read. The provider looks once more when it commits, and then calls us again."""
        response, _ = self._ask("PUT", account, json.dumps(amount), condition)
        if response.status not in (204, 412):
            raise HeapUnreadable(f"writing {heap_key(account)}: status {response.status}")
        return response.status == 204

    def _ask(self, method, account, body=None, headers={}):
        try:
            self.connection.request(method, f"{self.path}/heap/{heap_key(account)}", body, headers)
            response = self.connection.getresponse()
            return response, response.read()
        except (OSError, http.client.HTTPException) as error:
            raise HeapUnreadable(f"{method} {heap_key(account)}: {error}") from error


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


def put(heap, account, amount):
    def more(held):
        if held + amount > LARGEST:
            raise Refused(f"{account} cannot hold more than {LARGEST}")
        return held + amount

    return {heap_key(account): heap.change(account, more)}


def take(heap, account, amount):
    def less(held):
        if held < amount:
            raise Refused(f"insufficient funds: {account} holds {held}, {amount} asked for")
        return held - amount

    return {heap_key(account): heap.change(account, less)}


def deposit(payload, heap):
    to, amount = account_in(payload, "to"), amount_in(payload)
    return put(heap, to, amount)


def transfer(payload, heap):
    source, to, amount = account_in(payload, "from"), account_in(payload, "to"), amount_in(payload)
    if source == to:
        raise Refused('"from" and "to" are the same account')
    # What is taken is not lost if nothing can be put: then the call fails, and none of it is committed.
    return take(heap, source, amount) | put(heap, to, amount)


METHODS = {"deposit": deposit, "transfer": transfer}


def run(text, heap):
    """Return what a transaction changes in the heap."""
    txn_id, payload = parse_transaction(text)
    name = payload.get("method")
    method = METHODS.get(name) if isinstance(name, str) else None
    if method is None:
        raise Refused(f'"method" is not one of {", ".join(sorted(METHODS))}')
    changes = method(payload, heap)
    changes["last"] = {"txn_id": txn_id, "method": name, "amount": payload["amount"]}
    return changes


def open_heap():
    """Return the heap at the URL that came with the call."""
    url = os.environ.get("Http_X_Heap_Url")
    if url is None:
        # A process that was started ahead, before there was a call, has its variables in a file.
        try:
            with open(os.environ["DC_REQUEST_FILE"], encoding="utf-8", errors="surrogateescape") as file:
                variables = dict(entry.split("=", 1) for entry in file.read().split("\0") if entry)
            url = variables["Http_X_Heap_Url"]
        except (OSError, KeyError) as error:
            raise HeapUnreadable("no URL of a heap came with the call: deploy with com.dragonchain.heap") from error
    return Heap(url)


def main():
    try:
        text = sys.stdin.buffer.read()
        changes = run(text, open_heap())
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
