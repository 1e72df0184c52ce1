// The shown room's messages. Stays at the newest one while the reader is there; otherwise nothing
// that comes in or is filled in may move what he reads.
import { useEffect, useLayoutEffect, useRef } from "preact/hooks";
import type { Chat } from "../chat";
import type { Row } from "../rows";
import { Message } from "./message";
import { dayWords } from "./times";

/** So close to the end counts as the end. */
const END_SLACK_PX = 40;
/** Older messages are asked for when the reader is so near to the top. */
const TOP_SLACK_PX = 300;

export function MessageList({ chat }: { chat: Chat }) {
  const list = useRef<HTMLDivElement>(null);
  const { onScroll, toEnd } = useScrollPosition(chat, list);
  const { room } = chat;
  const rows = chat.rows();
  return (
    <div class="messages">
      <section
        ref={list}
        class="scroller"
        // biome-ignore lint/a11y/noNoninteractiveTabindex: a scrolled area must be reachable by key
        tabIndex={0}
        aria-label={`Messages in ${room.title}`}
        onScroll={onScroll}
      >
        <Beginning chat={chat} isEmpty={rows.length === 0} />
        <ol ref={movePlainly} class="message-list" data-testid="message-list">
          {rows.map((row) => (
            <RowView key={row.key} row={row} chat={chat} />
          ))}
        </ol>
      </section>
      {!chat.isAtEnd && (
        <button type="button" class="to-end" onClick={toEnd}>
          {room.unread > 0 ? `${room.unread} new ` : "To the newest "}
          <span aria-hidden="true">↓</span>
        </button>
      )}
    </div>
  );
}

/**
 * Keeps Preact from `moveBefore` in this list: Chromium forgets what a row should look like if it
 * is changed and moved by it at once, and a message that is sent goes on looking unsent.
 */
function movePlainly(element: Element | null): void {
  if (element) Object.assign(element, { moveBefore: undefined });
}

function Beginning({ chat, isEmpty }: { chat: Chat; isEmpty: boolean }) {
  const { room } = chat;
  if (room.loadFailed) {
    return (
      <p class="beginning">
        Older messages could not be loaded.{" "}
        <button type="button" class="quiet" onClick={() => chat.retryOlder()}>
          Try again
        </button>
      </p>
    );
  }
  if (room.isLoading) return <p class="beginning">Loading older messages…</p>;
  if (room.log.more) {
    const isFirst = !chat.session && chat.state === "connecting";
    return <p class="beginning">{isFirst ? "Connecting…" : ""}</p>;
  }
  if (isEmpty) return <p class="beginning">Nobody has written here yet. Say hello!</p>;
  return <p class="beginning">This is where {room.title} begins.</p>;
}

function RowView({ row, chat }: { row: Row; chat: Chat }) {
  if (row.kind === "message") {
    return (
      <Message
        row={row}
        onEdit={(clientOffset) => chat.edit(clientOffset)}
        onDiscard={(clientOffset) => chat.discard(clientOffset)}
      />
    );
  }
  if (row.kind === "day") {
    return (
      <li class="day">
        <time dateTime={new Date(row.at).toISOString()}>{dayWords(row.at, Date.now())}</time>
      </li>
    );
  }
  return (
    <li class="gap" data-testid="gap">
      <button type="button" onClick={() => chat.loadGap(row.gap)}>
        Messages are missing here. Load older messages
      </button>
    </li>
  );
}

/** Keeps the first visible row where it is, whatever is added above or below. */
function useScrollPosition(chat: Chat, list: { current: HTMLDivElement | null }) {
  const anchor = useRef<{ element: HTMLElement; top: number } | null>(null);
  const height = useRef(0);

  const remember = () => {
    const scroller = list.current;
    if (!scroller) return;
    const { top } = scroller.getBoundingClientRect();
    const rows = scroller.querySelectorAll<HTMLElement>("li.message");
    const element = firstBelow(rows, top);
    anchor.current = element && { element, top: element.getBoundingClientRect().top };
  };
  const restore = () => {
    const scroller = list.current;
    if (!scroller) return;
    if (chat.isAtEnd) scroller.scrollTop = scroller.scrollHeight;
    else if (anchor.current?.element.isConnected) {
      const { element, top } = anchor.current;
      scroller.scrollTop += element.getBoundingClientRect().top - top;
    }
    remember();
    height.current = scroller.clientHeight;
    if (scroller.scrollTop < TOP_SLACK_PX) chat.loadOlder();
  };
  useLayoutEffect(restore);

  useEffect(() => {
    const scroller = list.current;
    if (!scroller) return;
    const observer = new ResizeObserver(restore);
    observer.observe(scroller);
    const onVisible = () => chat.setAtEnd(chat.isAtEnd);
    document.addEventListener("visibilitychange", onVisible);
    return () => {
      observer.disconnect();
      document.removeEventListener("visibilitychange", onVisible);
    };
  }, []);

  const onScroll = () => {
    const scroller = list.current;
    if (!scroller) return;
    remember();
    // A field that grew moved the end away, not the reader: the observer comes next and goes there.
    if (scroller.clientHeight !== height.current) return;
    const below = scroller.scrollHeight - scroller.scrollTop - scroller.clientHeight;
    chat.setAtEnd(below <= END_SLACK_PX);
    if (scroller.scrollTop < TOP_SLACK_PX) chat.loadOlder();
  };
  const toEnd = () => {
    chat.setAtEnd(true);
    list.current?.focus();
  };
  return { onScroll, toEnd };
}

/** Rows lie in order, so the first one below the edge is found by halving. */
function firstBelow(rows: NodeListOf<HTMLElement>, edge: number): HTMLElement | null {
  let low = 0;
  let high = rows.length;
  while (low < high) {
    const middle = (low + high) >>> 1;
    const row = rows[middle];
    if (row && row.getBoundingClientRect().bottom <= edge) low = middle + 1;
    else high = middle;
  }
  return rows[low] ?? null;
}
