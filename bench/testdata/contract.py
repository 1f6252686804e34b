#!/usr/bin/python3
"""A small contract: it reads a transaction and answers with what changed.

It is written as package watchdog advises for prefork: what it imports comes before what it reads, and its last words end it at once.
With the argument "usual-end" it leaves its end to Python.
"""

import base64
import json
import os
import sys

transaction = json.load(sys.stdin)
payload = json.dumps(transaction["payload"], sort_keys=True)
json.dump({"last": transaction["header"]["txn_id"], "payload": base64.b64encode(payload.encode()).decode()}, sys.stdout)
if sys.argv[1:] != ["usual-end"]:
    sys.stdout.flush()
    os._exit(0)
