// The lobby and the joined rooms: switch, join, leave.
import { useEffect, useRef, useState } from "preact/hooks";
import type { Chat } from "../chat";
import { NAME_LENGTH } from "../protocol";
import type { Room } from "../room";

interface Props {
  chat: Chat;
  /** The panel was opened on a narrow screen: take the focus. */
  isOpen: boolean;
  onChosen(): void;
}

export function RoomList({ chat, isOpen, onChosen }: Props) {
  const list = useRef<HTMLUListElement>(null);
  useEffect(() => {
    if (isOpen) list.current?.querySelector("button")?.focus();
  }, [isOpen]);
  return (
    <nav aria-labelledby="rooms-heading">
      <h2 id="rooms-heading">Rooms</h2>
      <ul ref={list} class="room-list" data-testid="room-list">
        {[...chat.rooms.values()].map((room) => (
          <RoomItem key={`room-${room.name ?? ""}`} chat={chat} room={room} onChosen={onChosen} />
        ))}
      </ul>
      <JoinForm chat={chat} onChosen={onChosen} />
    </nav>
  );
}

export function RoomSign({ room }: { room: Room }) {
  return (
    <span class="room-sign" aria-hidden="true">
      {room.name === null ? "⌂" : "#"}
    </span>
  );
}

interface ItemProps {
  chat: Chat;
  room: Room;
  onChosen(): void;
}

function RoomItem({ chat, room, onChosen }: ItemProps) {
  const { name, title, unread } = room;
  const isCurrent = room === chat.room;
  const open = () => {
    chat.open(name);
    onChosen();
  };
  return (
    <li class="room" data-room={name ?? ""} data-current={String(isCurrent)}>
      <button
        type="button"
        class="room-open"
        aria-current={isCurrent ? "true" : undefined}
        onClick={open}
      >
        <RoomSign room={room} />
        <span class="room-title">{title}</span>
        {unread > 0 && (
          <span class="badge">
            {unread}
            <span class="hidden"> unread</span>
          </span>
        )}
      </button>
      {name !== null && (
        <button
          type="button"
          class="room-leave"
          aria-label={`Leave ${name}`}
          title={`Leave ${name}`}
          onClick={() => chat.leave(room)}
        >
          ×
        </button>
      )}
    </li>
  );
}

function JoinForm({ chat, onChosen }: { chat: Chat; onChosen(): void }) {
  const [text, setText] = useState("");
  const [problem, setProblem] = useState("");
  const submit = (event: SubmitEvent) => {
    event.preventDefault();
    const found = chat.join(text);
    setProblem(found);
    if (found) return;
    setText("");
    onChosen();
  };
  return (
    <form class="field-row" onSubmit={submit}>
      <label class="hidden" for="room-join">
        Room to join
      </label>
      <input
        id="room-join"
        data-testid="room-join-input"
        placeholder="Join a room"
        autocomplete="off"
        maxLength={NAME_LENGTH}
        value={text}
        aria-invalid={problem !== ""}
        aria-describedby="room-join-problem"
        onInput={(event) => setText(event.currentTarget.value)}
      />
      <button type="submit" data-testid="room-join">
        Join
      </button>
      <p id="room-join-problem" class="field-problem" aria-live="polite">
        {problem}
      </p>
    </form>
  );
}
