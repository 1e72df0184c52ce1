// Messages that the server has not acknowledged yet. Each keeps one clientOffset for all its tries,
// so however often it is sent (reconnect, reload) it is stored once. A room's messages form a lane:
// only its head is under way, which keeps the sender's order across retries.
import type { Refusal, RoomName, Stored } from "./protocol";

export interface Unsent {
  clientOffset: string;
  room: RoomName;
  content: string;
  /** When it was written, by this browser's clock. */
  writtenAt: number;
  state: "pending" | "refused";
  /** Sent at least once: the server may have stored it although no acknowledgement came. */
  tried: boolean;
  /** The position of an event that looks like this message; the acknowledgement decides. */
  seenAt?: number;
  refusal?: Refusal;
}

/** Where the outbox survives a reload. */
export interface OutboxStore {
  load(): Unsent[];
  save(entries: readonly Unsent[]): void;
}

/** So many unsent messages are kept; further ones are refused before they are taken. */
const LIMIT = 500;
/** The clocks of server and browser may differ by this much before an echo is not recognised. */
const CLOCK_SKEW_MS = 60_000;

export class Outbox {
  #entries: Unsent[];
  readonly #store: OutboxStore;

  constructor(store: OutboxStore) {
    this.#store = store;
    this.#entries = store.load();
  }

  get entries(): readonly Unsent[] {
    return this.#entries;
  }

  inRoom(room: RoomName): Unsent[] {
    return this.#entries.filter((entry) => entry.room === room);
  }

  rooms(): Set<RoomName> {
    return new Set(this.#entries.map((entry) => entry.room));
  }

  /** The next message to send in this room. */
  head(room: RoomName): Unsent | undefined {
    return this.#entries.find((entry) => entry.room === room && entry.state === "pending");
  }

  /** Returns false if the outbox is full: then the message stays with its writer. */
  add(room: RoomName, content: string, clientOffset: string, writtenAt: number): boolean {
    if (this.#entries.length >= LIMIT) return false;
    const entry: Unsent = {
      clientOffset,
      room,
      content,
      writtenAt,
      state: "pending",
      tried: false,
    };
    this.#change([...this.#entries, entry]);
    return true;
  }

  /** Recorded before the first byte leaves, so that a reload in between knows of the try. */
  markTried(clientOffset: string): void {
    this.#update(clientOffset, (entry) => ({ ...entry, tried: true }));
  }

  /** Acknowledged: the stored message takes over. */
  settle(clientOffset: string): void {
    this.#change(this.#entries.filter((entry) => entry.clientOffset !== clientOffset));
  }

  refuse(clientOffset: string, refusal: Refusal): void {
    this.#update(clientOffset, ({ seenAt: _, ...entry }) => ({
      ...entry,
      state: "refused",
      refusal,
    }));
  }

  discard(clientOffset: string): void {
    this.settle(clientOffset);
  }

  /**
   * A stored message may be the echo of one under way whose acknowledgement has not come (yet):
   * events carry no clientOffset. While it is taken for the echo, only one of the two is shown.
   */
  matchEcho(room: RoomName, message: Stored, ownName: string): void {
    const head = this.head(room);
    if (!head?.tried || head.seenAt !== undefined) return;
    if (message.author !== ownName || message.content !== head.content) return;
    if (message.at < head.writtenAt - CLOCK_SKEW_MS) return;
    this.#update(head.clientOffset, (entry) => ({ ...entry, seenAt: message.serverOffset }));
  }

  #update(clientOffset: string, change: (entry: Unsent) => Unsent): void {
    this.#change(
      this.#entries.map((entry) => (entry.clientOffset === clientOffset ? change(entry) : entry)),
    );
  }

  #change(entries: Unsent[]): void {
    this.#entries = entries;
    this.#store.save(entries);
  }
}
