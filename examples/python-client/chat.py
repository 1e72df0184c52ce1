"""A chat in the terminal for a client library without connection state recovery.

python chat.py [NAME]; CHAT_URL says where the server is.
"""

import os
import sys
import threading
import time
import uuid

import socketio

URL = os.environ.get("CHAT_URL", "http://localhost:3000")
auth = {"name": sys.argv[1] if len(sys.argv) > 1 else "Python", "retryable": True, "serverOffset": 0}
client = socketio.Client()
news = threading.Event()

# The library runs each handler in a thread of its own, so two messages may be handled in the wrong order. Events therefore only ring a
# bell; what is shown is read from the history, which has one order and no gaps.
client.on("session", lambda about: news.set())
client.on("chat message", lambda content, server_offset, about: news.set())
client.on("connect_error", lambda reason: print(f"-- not connected: {reason}", flush=True))


def ask(event, *arguments):
    """The answer to an event, which is sent until there is one. None: it is refused for good.

    Two threads may ask at a time, because an event without binary data is one packet.
    """
    while True:
        try:
            answer = client.call(event, arguments, timeout=5)
        except socketio.exceptions.SocketIOError:  # cut off, or no answer in time
            time.sleep(0.5)
            continue
        if "error" not in answer:
            return answer
        if not answer["error"]["retry"]:
            print(f"-- refused: {answer['error']['message']}", flush=True)
            return None
        time.sleep(1)


def show_messages():
    page = ask("history", {"limit": 20})
    while True:
        for message in page["messages"]:
            auth["serverOffset"] = message["serverOffset"]
            content = "".join(character if character.isprintable() else " " for character in message["content"])
            print(f"{message['author']}: {content}", flush=True)
        if not (page["messages"] and page["more"]):
            news.wait()
            news.clear()
        page = ask("history", {"after": auth["serverOffset"], "limit": 100})


# recovery=0: without it the server adds an argument to every event. auth is read again at each reconnect.
try:
    client.connect(f"{URL}?recovery=0", auth=lambda: auth)
except socketio.exceptions.ConnectionError:
    sys.exit(1)  # the reason was printed; once connected, the library comes back by itself
threading.Thread(target=show_messages, daemon=True).start()
for line in sys.stdin:
    ask("chat message", line.rstrip("\n"), str(uuid.uuid4()))
client.shutdown()
