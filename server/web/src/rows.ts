// Turns a room's messages and its unsent ones into what the list shows, top to bottom: day
// separators, breaks where messages are missing, messages grouped by author. Pure.
import type { Gap } from "./message_log";
import type { Unsent } from "./outbox";
import type { Refusal, Stored } from "./protocol";

export interface MessageRow {
  kind: "message";
  key: string;
  author: string;
  content: string;
  at: number;
  isOwn: boolean;
  /** The first of its group: shows author and time. */
  startsGroup: boolean;
  state: "pending" | "sent" | "refused";
  serverOffset?: number;
  clientOffset?: string;
  refusal?: Refusal;
}

export type Row =
  | MessageRow
  | { kind: "day"; key: string; at: number }
  | { kind: "gap"; key: string; gap: Gap };

export interface RowSource {
  messages: readonly Stored[];
  gaps: readonly Gap[];
  unsent: readonly Unsent[];
  ownName: string;
  isOwn(message: Stored): boolean;
  /** The clientOffset under which a stored message was shown while it was pending. */
  clientOffsetOf(serverOffset: number): string | undefined;
}

const GROUP_SPAN_MS = 5 * 60_000;

export function buildRows(source: RowSource): Row[] {
  const rows: Row[] = [];
  const gaps = [...source.gaps];
  let previous: MessageRow | undefined;
  let day: string | undefined;
  for (const message of messageRows(source)) {
    const gap = gaps[0];
    if (gap && (message.serverOffset ?? Number.POSITIVE_INFINITY) >= gap.before) {
      gaps.shift();
      rows.push({ kind: "gap", key: `gap-${gap.before}`, gap });
      previous = undefined;
    }
    const ofDay = new Date(message.at).toDateString();
    if (ofDay !== day) {
      rows.push({ kind: "day", key: `day-${message.key}`, at: message.at });
      day = ofDay;
      previous = undefined;
    }
    rows.push({ ...message, startsGroup: !previous || !belongTogether(previous, message) });
    previous = message;
  }
  return rows;
}

/** Stored messages by position, then the unsent ones in the order in which they were written. */
function messageRows(source: RowSource): MessageRow[] {
  const echoes = new Map<number, string>();
  for (const { seenAt, clientOffset } of source.unsent) {
    if (seenAt !== undefined) echoes.set(seenAt, clientOffset);
  }
  const shown = new Set<number>();
  const stored = source.messages.map((message) => {
    shown.add(message.serverOffset);
    return storedRow(message, source, echoes.get(message.serverOffset));
  });
  const unsent = source.unsent.filter(({ seenAt }) => seenAt === undefined || !shown.has(seenAt));
  return [...stored, ...unsent.map((entry) => unsentRow(entry, source.ownName))];
}

function storedRow(message: Stored, source: RowSource, echoOf: string | undefined): MessageRow {
  const { serverOffset, author, content, at } = message;
  // The row keeps the key it had while it was pending: the same element on the page, no flicker.
  const clientOffset = echoOf ?? source.clientOffsetOf(serverOffset);
  return {
    kind: "message",
    key: clientOffset ?? String(serverOffset),
    author,
    content,
    at,
    isOwn: echoOf !== undefined || source.isOwn(message),
    startsGroup: true,
    state: "sent",
    serverOffset,
  };
}

function unsentRow(entry: Unsent, ownName: string): MessageRow {
  return {
    kind: "message",
    key: entry.clientOffset,
    author: ownName,
    content: entry.content,
    at: entry.writtenAt,
    isOwn: true,
    startsGroup: true,
    state: entry.state,
    clientOffset: entry.clientOffset,
    ...(entry.refusal && { refusal: entry.refusal }),
  };
}

function belongTogether(a: MessageRow, b: MessageRow): boolean {
  return a.author === b.author && a.isOwn === b.isOwn && Math.abs(b.at - a.at) < GROUP_SPAN_MS;
}
