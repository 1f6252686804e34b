#!/usr/bin/python3
"""A small contract: it reads a transaction and answers with what changed."""

import base64
import json
import sys

transaction = json.load(sys.stdin)
payload = json.dumps(transaction["payload"], sort_keys=True)
json.dump({"last": transaction["header"]["txn_id"], "payload": base64.b64encode(payload.encode()).decode()}, sys.stdout)
