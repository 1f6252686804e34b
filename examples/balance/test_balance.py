"""Tests of the balance contract: its rules as functions, and the whole program against a heap that speaks HTTP."""

import http.server
import json
import os
import subprocess
import sys
import tempfile
import threading
import unittest

HERE = os.path.dirname(os.path.abspath(__file__))
sys.path.insert(0, HERE)
sys.dont_write_bytecode = True

import balance  # noqa: E402  (the path must be set first)


class Accounts(dict):
    """A heap whose accounts hold what is given."""

    def change(self, account, to):
        self[account] = to(self.get(account, 0))
        return self[account]


def transaction(payload):
    with open(os.path.join(HERE, "..", "transaction.json"), encoding="utf-8") as file:
        whole = json.load(file)
    whole["payload"] = payload
    return json.dumps(whole)


def run(payload, **accounts):
    """Return the balances that a payload changes, where accounts hold what is given."""
    changes = balance.run(transaction(payload), Accounts(accounts))
    changes.pop("last")
    return changes


class Rules(unittest.TestCase):
    def test_changes(self):
        cases = [
            ("first deposit", {"method": "deposit", "to": "alice", "amount": 5}, {}, {"account-alice": 5}),
            ("second deposit", {"method": "deposit", "to": "alice", "amount": 5}, {"alice": 7}, {"account-alice": 12}),
            (
                "transfer to somebody new",
                {"method": "transfer", "from": "alice", "to": "bob", "amount": 5},
                {"alice": 7},
                {"account-alice": 2, "account-bob": 5},
            ),
            (
                "transfer of all there is",
                {"method": "transfer", "from": "alice", "to": "bob", "amount": 7},
                {"alice": 7, "bob": 1},
                {"account-alice": 0, "account-bob": 8},
            ),
            ("payload as text", '{"method": "deposit", "to": "alice", "amount": 1}', {}, {"account-alice": 1}),
        ]
        for name, payload, accounts, want in cases:
            with self.subTest(name):
                self.assertEqual(run(payload, **accounts), want)

    def test_last_tells_the_transaction(self):
        changes = balance.run(transaction({"method": "deposit", "to": "a", "amount": 3}), Accounts())
        want = {"txn_id": "3a1e2f6c-8b0d-4a57-9c55-0f6d2f7b1e90", "method": "deposit", "amount": 3}
        self.assertEqual(changes["last"], want)

    def test_refused(self):
        largest = balance.LARGEST
        cases = [
            ("insufficient funds", {"method": "transfer", "from": "a", "to": "b", "amount": 8}, "a holds 7, 8 asked for"),
            ("from nothing", {"method": "transfer", "from": "b", "to": "a", "amount": 1}, "b holds 0"),
            ("to itself", {"method": "transfer", "from": "a", "to": "a", "amount": 1}, "same account"),
            ("amount of zero", {"method": "deposit", "to": "a", "amount": 0}, '"amount": 0'),
            ("negative amount", {"method": "transfer", "from": "b", "to": "a", "amount": -1}, '"amount": -1'),
            ("fraction", {"method": "deposit", "to": "a", "amount": 1.5}, '"amount": 1.5'),
            ("amount as text", {"method": "deposit", "to": "a", "amount": "1"}, "\"amount\": '1'"),
            ("amount as boolean", {"method": "deposit", "to": "a", "amount": True}, '"amount": True'),
            ("no amount", {"method": "deposit", "to": "a"}, '"amount": None'),
            ("not a number", {"method": "deposit", "to": "a", "amount": float("nan")}, '"amount": nan'),
            ("too much for the account", {"method": "deposit", "to": "a", "amount": largest}, "cannot hold more"),
            ("too large", {"method": "deposit", "to": "b", "amount": largest + 1}, '"amount"'),
            ("account with a slash", {"method": "deposit", "to": "a/b", "amount": 1}, '"to" is not an account'),
            ("account with a line feed", {"method": "deposit", "to": "a\n", "amount": 1}, '"to" is not an account'),
            ("empty account", {"method": "deposit", "to": "", "amount": 1}, '"to" is not an account'),
            ("account that is no text", {"method": "deposit", "to": ["a"], "amount": 1}, '"to" is not an account'),
            ("unknown method", {"method": "mint"}, '"method" is not one of deposit, transfer'),
            ("method that is no text", {"method": ["deposit"]}, '"method" is not one of'),
            ("no method", {}, '"method" is not one of'),
            ("payload that is a list", [], "the payload is not an object"),
            ("no payload", None, "the payload is not an object"),
            ("payload as bad text", "moo", "the payload is not JSON"),
        ]
        for name, payload, reason in cases:
            with self.subTest(name), self.assertRaises(balance.Refused) as refused:
                run(payload, a=7)
            self.assertIn(reason, str(refused.exception))

    def test_not_a_transaction(self):
        cases = [
            ("nothing", b"", "not JSON"),
            ("text", b"moo", "not JSON"),
            ("not UTF-8", b"\xff\xfe{", "not JSON"),
            ("nested without end", b"[" * 200_000, "not JSON"),
            ("list", b"[]", "no header"),
            ("header that is text", b'{"header": "x"}', "no header"),
            ("no id", b'{"header": {}}', "no txn_id"),
        ]
        for name, text, reason in cases:
            with self.subTest(name), self.assertRaises(balance.Refused) as refused:
                balance.run(text, Accounts())
            self.assertIn(reason, str(refused.exception))


class FakeHeap(http.server.BaseHTTPRequestHandler):
    """A call's view of its heap; a value that is a number is answered as that status."""

    protocol_version = "HTTP/1.1"
    values = {}
    versions = {}
    # What another call writes before this one's next write, once.
    others = {}

    def do_GET(self):
        value = self.values.get(self.key())
        if value is None:
            self.answer(404)
        elif isinstance(value, int):
            self.answer(value)
        else:
            self.answer(200, value, {"ETag": self.version()})

    def do_PUT(self):
        body = self.rfile.read(int(self.headers["Content-Length"])).decode()
        for key, value in self.others.items():
            self.values[key] = value
            self.versions[key] = self.versions.get(key, 0) + 1
        FakeHeap.others = {}
        there = self.key() in self.values
        condition = self.headers["If-Match"]
        if condition != self.version() if there else self.headers["If-None-Match"] != "*":
            self.answer(412)
            return
        self.values[self.key()] = body
        self.versions[self.key()] = self.versions.get(self.key(), 0) + 1
        self.answer(204)

    def key(self):
        return self.path.removeprefix("/call/heap/")

    def version(self):
        return f'"{self.versions.get(self.key(), 0)}"'

    def answer(self, status, body="", headers={}):
        self.send_response(status)
        for name, value in headers.items():
            self.send_header(name, value)
        if status != 204:
            self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body.encode())

    def log_message(self, *_):
        pass


class Program(unittest.TestCase):
    @classmethod
    def setUpClass(cls):
        cls.server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), FakeHeap)
        cls.thread = threading.Thread(target=cls.server.serve_forever, args=(0.02,))
        cls.thread.start()

    @classmethod
    def tearDownClass(cls):
        cls.server.shutdown()
        cls.thread.join()
        cls.server.server_close()

    def url(self):
        return f"http://127.0.0.1:{self.server.server_port}/call"

    def invoke(self, payload, heap, others={}, **environment):
        FakeHeap.values, FakeHeap.versions, FakeHeap.others = dict(heap), {}, others
        return subprocess.run(
            [sys.executable, os.path.join(HERE, "balance.py")],
            input=transaction(payload),
            env=environment or {"Http_X_Heap_Url": self.url()},
            capture_output=True,
            text=True,
            timeout=60,
        )

    def test_first_run(self):
        done = self.invoke({"method": "deposit", "to": "alice", "amount": 20}, {})
        self.assertEqual((done.returncode, done.stderr), (0, ""))
        self.assertEqual(json.loads(done.stdout)["account-alice"], 20)
        self.assertEqual(FakeHeap.values, {"account-alice": "20"})

    def test_started_ahead(self):
        with tempfile.NamedTemporaryFile("w") as variables:
            variables.write(f"Http_Path=/\0Http_X_Heap_Url={self.url()}\0Http_Query=a=b\0")
            variables.flush()
            done = self.invoke({"method": "deposit", "to": "alice", "amount": 20}, {}, DC_REQUEST_FILE=variables.name)
        self.assertEqual((done.returncode, done.stderr), (0, ""))
        self.assertEqual(json.loads(done.stdout)["account-alice"], 20)

    def test_goes_on_from_the_heap(self):
        heap = {"account-alice": "20", "account-bob": "1"}
        done = self.invoke({"method": "transfer", "from": "alice", "to": "bob", "amount": 5}, heap)
        self.assertEqual((done.returncode, done.stderr), (0, ""))
        changes = json.loads(done.stdout)
        self.assertEqual((changes["account-alice"], changes["account-bob"]), (15, 6))
        self.assertEqual(FakeHeap.values, {"account-alice": "15", "account-bob": "6"})

    def test_reads_again_what_another_call_has_changed(self):
        transfer = {"method": "transfer", "from": "alice", "to": "bob", "amount": 5}
        cases = [
            ("the first account", {"account-alice": "7"}, (2, 6)),
            ("the second account", {"account-bob": "100"}, (15, 105)),
            ("both", {"account-alice": "6", "account-bob": "2"}, (1, 7)),
        ]
        for name, others, want in cases:
            with self.subTest(name):
                done = self.invoke(transfer, {"account-alice": "20", "account-bob": "1"}, others)
                self.assertEqual((done.returncode, done.stderr), (0, ""))
                changes = json.loads(done.stdout)
                self.assertEqual((changes["account-alice"], changes["account-bob"]), want)
        done = self.invoke({"method": "deposit", "to": "carol", "amount": 5}, {}, {"account-carol": "3"})
        self.assertEqual(json.loads(done.stdout)["account-carol"], 8)
        done = self.invoke(transfer, {"account-alice": "20"}, {"account-alice": "4"})
        self.assertEqual((done.returncode, done.stderr), (1, "Refused: insufficient funds: alice holds 4, 5 asked for\n"))

    def test_refusal_prints_no_answer(self):
        done = self.invoke({"method": "transfer", "from": "alice", "to": "bob", "amount": 5}, {"account-alice": "4"})
        self.assertEqual((done.returncode, done.stdout), (1, ""))
        self.assertEqual(done.stderr, "Refused: insufficient funds: alice holds 4, 5 asked for\n")

    def test_balances_not_known(self):
        deposit = {"method": "deposit", "to": "alice", "amount": 20}
        cases = [
            ("heap breaks", {"account-alice": 500}, {}, "account-alice: status 500"),
            ("the call has ended", {"account-alice": 410}, {}, "account-alice: status 410"),
            ("value is no balance", {"account-alice": '"moo"'}, {}, "'moo' is not a whole number"),
            ("value is no JSON", {"account-alice": "moo"}, {}, "reading account-alice"),
            ("no contract", {}, {"HOME": "/"}, "no URL of a heap"),
            ("no contract, started ahead", {}, {"DC_REQUEST_FILE": os.devnull}, "no URL of a heap"),
            ("nobody listens", {}, {"Http_X_Heap_Url": "http://127.0.0.1:1/call"}, "GET account-alice"),
        ]
        for name, heap, environment, reason in cases:
            with self.subTest(name):
                done = self.invoke(deposit, heap, **environment)
                self.assertEqual((done.returncode, done.stdout), (1, ""))
                self.assertIn(reason, done.stderr)
                self.assertNotIn("Traceback", done.stderr)


if __name__ == "__main__":
    unittest.main()
