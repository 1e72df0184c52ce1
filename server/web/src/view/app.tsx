// The page's frame: header, rooms, messages, people; which panel a narrow screen shows.
import { useEffect, useReducer, useRef, useState } from "preact/hooks";
import type { Chat } from "../chat";
import { Composer } from "./composer";
import { Header } from "./header";
import { LiveRegions } from "./live_regions";
import { MemberList } from "./member_list";
import { MessageList } from "./message_list";
import { NameForm } from "./name_form";
import { oncePerFrame } from "./redraw";
import { RoomList, RoomSign } from "./room_list";

export type Panel = "rooms" | "people" | null;

export function App({ chat }: { chat: Chat }) {
  const [, redraw] = useReducer((count: number) => count + 1, 0);
  const [panel, setPanel] = useState<Panel>(null);
  const opener = useRef<HTMLElement | null>(null);
  useEffect(() => {
    const frames = oncePerFrame(() => redraw(undefined));
    const unsubscribe = chat.subscribe(frames.request);
    return () => {
      unsubscribe();
      frames.cancel();
    };
  }, [chat]);
  useTitle(chat);

  const toggle = (wanted: Panel) => {
    if (panel === null) opener.current = document.activeElement as HTMLElement | null;
    setPanel(panel === wanted ? null : wanted);
  };
  const close = () => {
    if (panel === null) return;
    setPanel(null);
    opener.current?.focus();
  };
  const onKeyDown = (event: KeyboardEvent) => {
    if (event.key === "Escape") close();
  };

  return (
    // biome-ignore lint/a11y/noStaticElementInteractions: Escape closes whichever panel is open
    <div class="app" data-panel={panel ?? "none"} onKeyDown={onKeyDown}>
      <a class="skip" href="#message-input">
        Skip to the message field
      </a>
      <Header chat={chat} panel={panel} onToggle={toggle} />
      <aside id="rooms" class="panel rooms" aria-label="Rooms and name">
        <RoomList chat={chat} isOpen={panel === "rooms"} onChosen={close} />
        <NameForm chat={chat} />
      </aside>
      <main
        class="conversation"
        aria-label={`Conversation in ${chat.room.title}`}
        // Where the focus goes must be seen, and an open panel covers it.
        onFocusIn={() => setPanel(null)}
      >
        <h2 class="room-heading">
          <RoomSign room={chat.room} />
          {chat.room.title}
        </h2>
        <Notice chat={chat} />
        <MessageList key={`list-${chat.room.name ?? ""}`} chat={chat} />
        <Composer key={`composer-${chat.room.name ?? ""}`} chat={chat} />
      </main>
      <aside id="people" class="panel people" aria-label={`People in ${chat.room.title}`}>
        <MemberList chat={chat} isOpen={panel === "people"} />
      </aside>
      {panel !== null && (
        <button type="button" class="scrim" aria-label="Close the panel" onClick={close} />
      )}
      <LiveRegions chat={chat} />
    </div>
  );
}

function Notice({ chat }: { chat: Chat }) {
  const text = chat.announcer.problemText;
  if (!text) return null;
  return (
    <div class="notice">
      <p>{text}</p>
      <button type="button" class="quiet" onClick={() => chat.announcer.dismissProblem()}>
        Dismiss
      </button>
    </div>
  );
}

function useTitle(chat: Chat): void {
  const unread = [...chat.rooms.values()].reduce((sum, room) => sum + room.unread, 0);
  const title = `${unread > 0 ? `(${unread}) ` : ""}${chat.room.title} · ChatCluster`;
  useEffect(() => {
    document.title = title;
  }, [title]);
}
