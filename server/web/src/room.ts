// What this page knows of one room (or the lobby): messages, people, what is unread.
import { MessageLog } from "./message_log";
import type { Answers, Member, RoomName, Stored } from "./protocol";

/** Someone is shown as typing for so long after the last sign of it. */
const TYPING_SHOWN_MS = 4_000;
/** So many people who went are known again if they come back. */
const KEPT_GONE = 500;

export class Room {
  readonly log = new MessageLog();
  unread = 0;
  /** This connection has joined it; the lobby needs no joining. */
  isJoined: boolean;
  /** Messages up to here are in the log without a hole; a reconnect fills from here. */
  position: number | null = null;
  /** What was missed is not loaded yet: live messages must not move `position`. */
  needsFill = false;
  isLoading = false;
  /** The last load failed: shown in place of older messages, with a way to try again. */
  loadFailed = false;
  draft = "";
  /** The people here, as far as the server lists them. */
  members = new Map<string, Member>();
  /** How many people are here, listed or not. */
  total = 0;
  /** Nodes that did not say who is on them. */
  missingNodes: string[] = [];
  /** Whose connection ended while in this room; a recovered one has the same id and its rooms. */
  readonly #gone = new Map<string, Member>();
  #typists = new Map<string, number>();

  constructor(readonly name: RoomName) {
    this.isJoined = name === null;
  }

  get title(): string {
    return this.name ?? "Lobby";
  }

  advance(serverOffset: number): void {
    this.position = Math.max(this.position ?? 0, serverOffset);
  }

  /** A live or replayed event. Returns whether it is new here. */
  addEvent(message: Stored): boolean {
    if (!this.needsFill) this.advance(message.serverOffset);
    return this.log.addEvent(message);
  }

  noteTyping(author: string, now: number): void {
    this.#typists.set(author, now + TYPING_SHOWN_MS);
  }

  stopTyping(author: string): void {
    this.#typists.delete(author);
  }

  forgetTypists(): void {
    this.#typists.clear();
  }

  typists(now: number): string[] {
    for (const [author, until] of this.#typists) {
      if (until <= now) this.#typists.delete(author);
    }
    return [...this.#typists.keys()];
  }

  setMembers({ members, total, missing }: Answers["who"]): void {
    this.members = new Map(members.map((member) => [member.id, member]));
    this.total = total;
    this.missingNodes = missing;
    this.#gone.clear();
  }

  noteJoined({ id, name }: Member): void {
    if (!this.members.has(id)) this.total += 1;
    this.members.set(id, { id, name });
  }

  noteLeft(id: string): void {
    const isListed = this.members.delete(id);
    if (isListed || this.members.size < this.total) this.total -= 1;
  }

  noteGone(id: string): void {
    const member = this.members.get(id);
    if (!member) return;
    this.noteLeft(id);
    this.#gone.set(id, member);
    const [oldest] = this.#gone.keys();
    if (this.#gone.size > KEPT_GONE && oldest !== undefined) this.#gone.delete(oldest);
  }

  noteBack(id: string): void {
    const member = this.#gone.get(id);
    if (member && this.#gone.delete(id)) this.noteJoined(member);
  }
}
