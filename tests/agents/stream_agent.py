"""An A2A server that answers a message with exactly what the message says, piece by piece, good or bad.

``python stream_agent.py PORT``. A message's first part: ``{"data": {"say": [...], "then": "close" | "hang"}}``. An
object is said as an event of its own, ``{ID}`` in it is the request's number; a text as it stands.
"""

import json
import sys
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer


class Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def log_message(self, *_):
        pass

    def do_POST(self):
        asked = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
        order = asked["params"]["message"]["parts"][0]["data"]
        self.send_response(200)
        self.send_header("Content-Type", order.get("type", "text/event-stream"))
        self.send_header("Transfer-Encoding", "chunked")
        self.end_headers()
        self.close_connection = True
        try:
            for piece in order["say"] * order.get("times", 1):
                text = piece
                if not isinstance(piece, str):
                    text = f"data: {json.dumps({'jsonrpc': '2.0', 'id': asked['id'], 'result': piece})}\n\n"
                self.chunk(text.replace("{ID}", str(asked["id"])).encode())
            if order.get("then") == "hang":
                self.rfile.read(1)  # until the other side closes
                print(json.dumps({"closed": asked["params"]["message"]["messageId"]}), flush=True)
            elif order.get("then") == "cut":
                return
            else:
                self.wfile.write(b"0\r\n\r\n")
        except OSError:
            print(json.dumps({"closed": asked["params"]["message"]["messageId"]}), flush=True)

    def chunk(self, data):
        self.wfile.write(b"%x\r\n%s\r\n" % (len(data), data))
        self.wfile.flush()


server = ThreadingHTTPServer(("127.0.0.1", int(sys.argv[1])), Handler)
print(json.dumps({"id": 0, "serving": int(sys.argv[1])}), flush=True)
threading.Thread(target=server.serve_forever, daemon=True).start()
sys.stdin.read()
