"""Tests of the balance contract: its rules as functions, and the whole program against a heap that speaks HTTP."""

import base64
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

CREDENTIALS = "admin:pass:word"


def transaction(payload):
    with open(os.path.join(HERE, "..", "transaction.json"), encoding="utf-8") as file:
        whole = json.load(file)
    whole["payload"] = payload
    return json.dumps(whole)


def run(payload, **accounts):
    """Return the balances that a payload changes, where accounts hold what is given."""
    changes = balance.run(transaction(payload), lambda account: accounts.get(account, 0))
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
        changes = balance.run(transaction({"method": "deposit", "to": "a", "amount": 3}), lambda _: 0)
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
                balance.run(text, lambda _: 0)
            self.assertIn(reason, str(refused.exception))


class FakeHeap(http.server.BaseHTTPRequestHandler):
    """A provider's heap of one contract; a value that is a number is answered as that status."""

    values = {}

    def do_GET(self):
        want = "Basic " + base64.b64encode(CREDENTIALS.encode()).decode()
        name = self.path.removeprefix("/heap/balance/")
        if self.headers["Authorization"] != want:
            self.send_error(401)
        elif name not in self.values:
            self.send_error(404)
        elif isinstance(self.values[name], int):
            self.send_error(self.values[name])
        else:
            body = self.values[name].encode()
            self.send_response(200)
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

    def log_message(self, *_):
        pass


class Program(unittest.TestCase):
    @classmethod
    def setUpClass(cls):
        cls.server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), FakeHeap)
        cls.thread = threading.Thread(target=cls.server.serve_forever, args=(0.02,))
        cls.thread.start()
        cls.secret = tempfile.NamedTemporaryFile("w", suffix=".secret")
        cls.secret.write(CREDENTIALS + "\n")
        cls.secret.flush()

    @classmethod
    def tearDownClass(cls):
        cls.server.shutdown()
        cls.thread.join()
        cls.server.server_close()
        cls.secret.close()

    def invoke(self, payload, heap, **environment):
        FakeHeap.values = heap
        url = f"http://127.0.0.1:{self.server.server_port}/heap/balance"
        return subprocess.run(
            [sys.executable, os.path.join(HERE, "balance.py")],
            input=transaction(payload),
            env={"HEAP_URL": url, "HEAP_SECRET": self.secret.name} | environment,
            capture_output=True,
            text=True,
            timeout=60,
        )

    def test_first_run(self):
        done = self.invoke({"method": "deposit", "to": "alice", "amount": 20}, {})
        self.assertEqual((done.returncode, done.stderr), (0, ""))
        self.assertEqual(json.loads(done.stdout)["account-alice"], 20)

    def test_goes_on_from_the_heap(self):
        heap = {"account-alice": "20", "account-bob": "1"}
        done = self.invoke({"method": "transfer", "from": "alice", "to": "bob", "amount": 5}, heap)
        self.assertEqual((done.returncode, done.stderr), (0, ""))
        changes = json.loads(done.stdout)
        self.assertEqual((changes["account-alice"], changes["account-bob"]), (15, 6))

    def test_refusal_prints_no_answer(self):
        done = self.invoke({"method": "transfer", "from": "alice", "to": "bob", "amount": 5}, {"account-alice": "4"})
        self.assertEqual((done.returncode, done.stdout), (1, ""))
        self.assertEqual(done.stderr, "Refused: insufficient funds: alice holds 4, 5 asked for\n")

    def test_balances_not_known(self):
        deposit = {"method": "deposit", "to": "alice", "amount": 20}
        cases = [
            ("heap breaks", {"account-alice": 500}, {}, "account-alice: status 500"),
            ("value is no balance", {"account-alice": '"moo"'}, {}, "'moo' is not a whole number"),
            ("value is no JSON", {"account-alice": "moo"}, {}, "reading account-alice"),
            ("wrong credentials", {}, {"HEAP_SECRET": os.devnull}, "status 401"),
            ("no credentials", {}, {"HEAP_SECRET": "/nowhere"}, "the heap's credentials"),
            ("nobody listens", {}, {"HEAP_URL": "http://127.0.0.1:1/heap/balance"}, "reading account-alice"),
        ]
        for name, heap, environment, reason in cases:
            with self.subTest(name):
                done = self.invoke(deposit, heap, **environment)
                self.assertEqual((done.returncode, done.stdout), (1, ""))
                self.assertIn(reason, done.stderr)
                self.assertNotIn("Traceback", done.stderr)


if __name__ == "__main__":
    unittest.main()
