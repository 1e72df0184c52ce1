// Sends the outbox: one message at a time in each room, in order, again and again with the same
// clientOffset until the server has acknowledged or finally refused it.
import { Backoff } from "./backoff";
import { Refused } from "./connection";
import type { Outbox, Unsent } from "./outbox";
import type { RoomName } from "./protocol";
import type { Request } from "./room_sync";

export interface SenderOptions {
  outbox: Outbox;
  request: Request;
  /** The session has begun and this room is joined. */
  canSend(room: RoomName): boolean;
  onStored(entry: Unsent, serverOffset: number): void;
  onRefused(entry: Unsent): void;
  onChange(): void;
}

export class Sender {
  readonly #busy = new Set<RoomName>();
  readonly #backoffs = new Map<RoomName, Backoff>();

  constructor(private readonly options: SenderOptions) {}

  /** Something may be sendable now: written, connected, or joined. */
  wake(): void {
    for (const room of this.options.outbox.rooms()) void this.#run(room);
  }

  async #run(room: RoomName): Promise<void> {
    if (this.#busy.has(room)) return;
    this.#busy.add(room);
    try {
      for (let entry = this.#next(room); entry; entry = this.#next(room)) {
        const settled = await this.#send(entry);
        this.options.onChange();
        if (!settled) await this.#pause(room);
      }
    } finally {
      this.#busy.delete(room);
    }
  }

  #next(room: RoomName): Unsent | undefined {
    return this.options.canSend(room) ? this.options.outbox.head(room) : undefined;
  }

  /** Returns false if the message is to be sent again. */
  async #send(entry: Unsent): Promise<boolean> {
    const { outbox, request, onStored, onRefused } = this.options;
    const { clientOffset, content, room } = entry;
    outbox.markTried(clientOffset);
    try {
      const { serverOffset } = await (room === null
        ? request("chat message", content, clientOffset)
        : request("room:message", room, content, clientOffset));
      this.#backoffs.delete(room);
      onStored(entry, serverOffset);
      outbox.settle(clientOffset);
      return true;
    } catch (error) {
      if (!(error instanceof Refused) || error.refusal.retry) return false;
      outbox.refuse(clientOffset, error.refusal);
      onRefused(entry);
      return true;
    }
  }

  /** Not answered or refused for now. Without a connection the loop ends; `wake` begins anew. */
  async #pause(room: RoomName): Promise<void> {
    if (!this.options.canSend(room)) return;
    const backoff = this.#backoffs.get(room) ?? new Backoff();
    this.#backoffs.set(room, backoff);
    await new Promise((resolve) => setTimeout(resolve, backoff.next()));
  }
}
