// Which rooms the user is in. What he wants holds at once and is remembered; the server follows as
// soon as there is a session, and again after each one that was not recovered. Also who comes and
// goes there.
import { Backoff } from "./backoff";
import { Refused } from "./connection";
import type { Outbox } from "./outbox";
import type { Presence, Refusal, RoomName } from "./protocol";
import { Room } from "./room";
import type { Request, RoomSync } from "./room_sync";
import * as settings from "./settings";

/**
 * Signs of who comes and goes are volatile: over polling most of a burst is lost. So the list is
 * asked for again so long after the first one, or up to twice as long: not all pages ask at once.
 */
const PRESENCE_CHECK_MS = 10_000;

export interface MembershipOptions {
  sync: RoomSync;
  outbox: Outbox;
  request: Request;
  /** There is a session. */
  isReady(): boolean;
  onJoined(room: Room): void;
  onRemoved(room: Room): void;
  onProblem(text: string): void;
  /** Who is here is to be asked for again. */
  onPresenceDue(): void;
}

export class Membership {
  readonly lobby = new Room(null);
  readonly rooms = new Map<RoomName, Room>([[null, this.lobby]]);
  readonly #leaving = new Set<string>();
  readonly #busy = new Set<Room>();
  #presenceTimer: ReturnType<typeof setTimeout> | undefined;

  constructor(private readonly options: MembershipOptions) {
    for (const name of settings.loadRooms()) this.#add(name);
    // A message that another tab left unsent needs its room.
    for (const name of options.outbox.rooms()) if (name !== null) this.#add(name);
  }

  join(name: string): void {
    this.#leaving.delete(name);
    const room = this.#add(name);
    this.#save();
    void this.#bringInStep(room);
  }

  /** Refused while the room holds messages that are still to be sent. */
  leave(room: Room): boolean {
    const { outbox, isReady } = this.options;
    if (room.name === null || outbox.head(room.name)) return false;
    for (const { clientOffset } of outbox.inRoom(room.name)) outbox.discard(clientOffset);
    this.#leaving.add(room.name);
    this.#remove(room);
    if (isReady()) this.#tellLeft();
    return true;
  }

  onSession(isRecovered: boolean): void {
    this.#tellLeft();
    for (const room of this.rooms.values()) {
      if (room.name !== null && !isRecovered) room.isJoined = false;
      void this.#bringInStep(room);
    }
  }

  /** Connections come and go in the lobby only: the named rooms are not told one by one. */
  notePresence({ room: name, id, name: memberName }: Presence, isHere: boolean): void {
    const room = this.rooms.get(name);
    if (isHere) room?.noteJoined({ id, name: memberName });
    else room?.noteLeft(id);
    room?.stopTyping(memberName);
    this.#checkPresenceLater();
    if (room !== this.lobby) return;
    for (const named of this.rooms.values()) {
      if (named === this.lobby) continue;
      if (isHere) named.noteBack(id);
      else named.noteGone(id);
    }
  }

  #checkPresenceLater(): void {
    this.#presenceTimer ??= setTimeout(
      () => {
        this.#presenceTimer = undefined;
        this.options.onPresenceDue();
      },
      PRESENCE_CHECK_MS * (1 + Math.random()),
    );
  }

  /** Joins and fills until the room is whole, the session ends, or the server finally refuses. */
  async #bringInStep(room: Room): Promise<void> {
    const { sync, isReady, onJoined } = this.options;
    if (this.#busy.has(room)) return;
    this.#busy.add(room);
    const backoff = new Backoff();
    while (isReady() && this.rooms.has(room.name) && (!room.isJoined || room.needsFill)) {
      try {
        await (room.isJoined ? sync.fill(room) : sync.join(room));
        onJoined(room);
      } catch (error) {
        if (error instanceof Refused && !error.refusal.retry) {
          this.#onRefused(room, error.refusal);
          break;
        }
        if (isReady()) await new Promise((resolve) => setTimeout(resolve, backoff.next()));
      }
    }
    this.#busy.delete(room);
  }

  /** The room goes, unless it holds unsent messages: those stay with their writer. */
  #onRefused(room: Room, refusal: Refusal): void {
    const { outbox, onProblem } = this.options;
    const unsent = outbox.inRoom(room.name);
    for (const { clientOffset } of unsent) outbox.refuse(clientOffset, refusal);
    if (unsent.length === 0) this.#remove(room);
    onProblem(`${room.title} could not be joined: ${refusal.message}`);
  }

  #tellLeft(): void {
    for (const name of this.#leaving) {
      // A lost connection keeps the name here for the next session; a refusal means not in it.
      this.options.request("room:leave", name).then(
        () => this.#leaving.delete(name),
        (error: unknown) => error instanceof Refused && this.#leaving.delete(name),
      );
    }
  }

  #add(name: string): Room {
    const room = this.rooms.get(name) ?? new Room(name);
    this.rooms.set(name, room);
    return room;
  }

  #remove(room: Room): void {
    this.rooms.delete(room.name);
    this.#save();
    this.options.onRemoved(room);
  }

  #save(): void {
    settings.saveRooms([...this.rooms.keys()].filter((name) => name !== null));
  }
}
