// Where the page stands: room, node, recovery, connection, and the way offline and back.
import type { Chat } from "../chat";
import type { Panel } from "./app";

const STATE_WORDS = { connected: "Connected", connecting: "Connecting…", offline: "Offline" };

interface Props {
  chat: Chat;
  panel: Panel;
  onToggle(panel: Panel): void;
}

export function Header({ chat, panel, onToggle }: Props) {
  const elsewhere = [...chat.rooms.values()].reduce(
    (sum, room) => sum + (room === chat.room ? 0 : room.unread),
    0,
  );
  return (
    <header class="header">
      <button
        type="button"
        class="panel-toggle"
        aria-expanded={panel === "rooms"}
        aria-controls="rooms"
        onClick={() => onToggle("rooms")}
      >
        Rooms
        {elsewhere > 0 && <span class="badge">{elsewhere}</span>}
      </button>
      <h1 class="brand">
        <img src="/favicon.svg" alt="" width="28" height="28" />
        <span class="brand-name">ChatCluster</span>
        <span class="brand-room" aria-hidden="true">
          {chat.room.title}
        </span>
      </h1>
      <ConnectionFacts chat={chat} />
      <button
        type="button"
        class="panel-toggle"
        aria-expanded={panel === "people"}
        aria-controls="people"
        onClick={() => onToggle("people")}
      >
        People
      </button>
    </header>
  );
}

function ConnectionFacts({ chat }: { chat: Chat }) {
  const { state, session, problem } = chat;
  return (
    <div class="facts">
      <span class="fact status" data-testid="status" data-state={state}>
        <span class="dot" aria-hidden="true" />
        {STATE_WORDS[state]}
      </span>
      <span class="fact">
        <span class="fact-label">node </span>
        <b data-testid="node">{session?.node ?? "–"}</b>
      </span>
      <span
        class="fact recovered"
        data-testid="recovered"
        data-recovered={String(session?.recovered ?? false)}
        title="Whether the last connection continued the one before it"
      >
        {session && (session.recovered ? "recovered" : "new session")}
      </span>
      {problem && state !== "connected" && <span class="fact problem">{problem}</span>}
      <button
        type="button"
        class="quiet"
        data-testid="toggle-offline"
        onClick={() => chat.toggleOffline()}
      >
        {state === "offline" ? "Go online" : "Go offline"}
      </button>
    </div>
  );
}
