"""Chats with python-socketio and exits with 0 if everything was as the protocol says. Usage: client.py URL TRANSPORT"""

import sys
import threading
import uuid

import socketio

DEADLINE = 10
URL, TRANSPORT = sys.argv[1:3]


class Person:
    """A client without connection state recovery, as its query says."""

    def __init__(self, name):
        self.events = []
        self.changed = threading.Condition()
        self.client = socketio.Client(reconnection=False)
        self.client.on("*", self._keep)
        transports = ["polling", "websocket"] if TRANSPORT == "upgrade" else [TRANSPORT]
        self.client.connect(f"{URL}?recovery=0", auth={"name": name, "retryable": True}, transports=transports, wait_timeout=DEADLINE)

    def _keep(self, *event):
        with self.changed:
            self.events.append(event)
            self.changed.notify_all()

    def wait(self, matches, what):
        with self.changed:
            found = lambda: next((event for event in self.events if matches(event)), None)
            if not self.changed.wait_for(found, DEADLINE):
                raise AssertionError(f"no {what} within {DEADLINE} s; got {self.events}")
            return found()

    def ask(self, *event):
        return self.client.call(event[0], event[1:], timeout=DEADLINE)


def main():
    ada, bob = Person("Ada"), Person("Bob")
    session = ada.wait(lambda event: event[0] == "session", "session")
    assert len(session) == 2, f"extra argument: {session}"
    assert session[1]["recovered"] is False and session[1]["name"] == "Ada", session

    content, offset = f"from python ä😀 {uuid.uuid4()}", str(uuid.uuid4())
    answer = ada.ask("chat message", content, offset)
    assert set(answer) == {"serverOffset", "duplicate"} and answer["duplicate"] is False, answer
    again = ada.ask("chat message", content, offset)
    assert again == {"serverOffset": answer["serverOffset"], "duplicate": True}, again

    shown = bob.wait(lambda event: event[0] == "chat message" and event[1] == content, "message")
    assert len(shown) == 4, f"extra argument: {shown}"
    assert shown[2] == answer["serverOffset"] and shown[3]["author"] == "Ada", shown

    room = str(uuid.uuid4())
    for person in (ada, bob):
        assert person.ask("room:join", room)["room"] == room
    bob.ask("room:message", room, "in the room", str(uuid.uuid4()))
    shown = ada.wait(lambda event: event[0] == "room:message", "room message")
    assert len(shown) == 5 and shown[1:3] == (room, "in the room"), shown

    page = bob.ask("history", {"room": room})
    assert [message["content"] for message in page["messages"]] == ["in the room"], page
    refused = ada.ask("chat message", "")
    assert refused["error"]["code"] == 201, refused
    for person in (ada, bob):
        count = sum(event[:2] == ("chat message", content) for event in person.events)
        assert count == 1, f"shown {count} times"
        person.client.disconnect()


main()
