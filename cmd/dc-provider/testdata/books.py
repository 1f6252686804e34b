"""Serves the balance contract over HTTP, so that ten thousand transfers do not wait for as many interpreters: books.py FOLDER PORT."""

import http.server
import json
import sys

sys.path.insert(0, sys.argv[1])
sys.dont_write_bytecode = True

import balance  # noqa: E402  (the path must be set first)


class Contract(http.server.BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def do_POST(self):
        text = self.rfile.read(int(self.headers["Content-Length"]))
        heap = balance.Heap(self.headers["X-Heap-Url"])
        try:
            status, answer = 200, json.dumps(balance.run(text, heap))
        except (balance.Refused, balance.HeapUnreadable) as error:
            status, answer = 500, str(error)
        finally:
            heap.connection.close()
        self.send_response(status)
        self.send_header("Content-Length", str(len(answer.encode())))
        self.end_headers()
        self.wfile.write(answer.encode())

    def log_message(self, *_):
        pass


class Server(http.server.ThreadingHTTPServer):
    # A process that was killed has left connections behind.
    allow_reuse_address = True


Server(("127.0.0.1", int(sys.argv[2])), Contract).serve_forever()
