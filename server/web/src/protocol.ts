// The wire as docs/protocol.md states it: event shapes, refusals, limits. No behaviour.
import type { Socket } from "socket.io-client";

/** A room's name; `null` is the lobby. */
export type RoomName = string | null;

export interface Stored {
  serverOffset: number;
  content: string;
  author: string;
  /** Milliseconds since 1970, by the server's clock. */
  at: number;
}

export interface Page {
  /** Oldest first. */
  messages: Stored[];
  more: boolean;
}

export interface Refusal {
  code: number;
  message: string;
  field?: string;
  retry: boolean;
}

export type Answer<T> = T | { error: Refusal };

export interface Stamp {
  author: string;
  at: number;
}

/** Comes once for each connection, after what was missed of the lobby and before what is live. */
export interface Session {
  node: string;
  recovered: boolean;
  name: string;
  /** Everything up to here has come. */
  serverOffset: number;
}

export interface Member {
  id: string;
  name: string;
}

export interface Presence extends Member {
  room: RoomName;
}

export interface HistoryQuery {
  room?: string;
  before?: number;
  after?: number;
  limit: number;
}

interface ServerEvents {
  session(session: Session): void;
  "chat message"(content: string, serverOffset: number, stamp: Stamp): void;
  "room:message"(room: string, content: string, serverOffset: number, stamp: Stamp): void;
  "history gap"(gap: { after: number; before: number }): void;
  typing(event: { room: RoomName; author: string }): void;
  joined(presence: Presence): void;
  left(presence: Presence): void;
}

/** What each request is acknowledged with, beside a refusal. */
export interface Answers {
  "chat message": { serverOffset: number; duplicate: boolean };
  "room:message": { serverOffset: number; duplicate: boolean };
  "room:join": { room: string; serverOffset: number };
  "room:leave": { room: string };
  history: Page;
  who: { members: Member[]; total: number; missing: string[] };
}

// biome-ignore lint/suspicious/noExplicitAny: requests are typed by `Answers` where they are made
export type ChatSocket = Socket<ServerEvents, Record<string, (...args: any[]) => void>>;

export const NAME_LENGTH = 64;
export const PAGE_SIZE = 50;
export const FILL_PAGE_SIZE = 100;
/** With more people on a node it tells of nobody who comes or goes. */
export const PRESENCE_LIMIT = 200;
export const REFUSED_TOKEN_REQUIRED = 300;
export const REFUSED_TOKEN_INVALID = 301;
export const REFUSED_TOKEN_EXPIRED = 302;
export const REFUSED_NAME = 303;
