// Brings rooms in step with the server: joining, filling what was missed, paging, who is here.
// Every step may be cut by a lost connection; each leaves a state from which it can be repeated.
import type { Gap } from "./message_log";
import {
  type Answers,
  FILL_PAGE_SIZE,
  type HistoryQuery,
  PAGE_SIZE,
  type RoomName,
  type Stored,
} from "./protocol";
import type { Room } from "./room";

export type Request = <E extends keyof Answers>(
  event: E,
  ...args: unknown[]
) => Promise<Answers[E]>;

/** After so many pages the rest becomes a break that the reader may load. */
const FILL_PAGES = 10;

export class RoomSync {
  constructor(
    private readonly request: Request,
    private readonly onMissed: (room: Room, messages: readonly Stored[]) => void,
  ) {}

  /** Joins on this connection and loads what was missed since the last one. */
  async join(room: Room): Promise<void> {
    if (room.name === null) return;
    // Before it is asked: live messages may come before the answer, and must not move the position
    // over what was missed.
    if (room.position !== null) room.needsFill = true;
    const { serverOffset } = await this.request("room:join", room.name);
    room.isJoined = true;
    room.position ??= serverOffset;
    await this.fill(room);
  }

  /** Forward from the last known position until nothing is missing. */
  async fill(room: Room): Promise<void> {
    for (let pages = 0; room.needsFill; pages += 1) {
      const after = room.position ?? 0;
      if (pages === FILL_PAGES) return this.#skipToNewest(room, after);
      const page = await this.request("history", query(room, { after, limit: FILL_PAGE_SIZE }));
      this.onMissed(room, room.log.addNewer(page));
      const last = page.messages.at(-1);
      if (last) room.advance(last.serverOffset);
      if (!page.more || !last) room.needsFill = false;
    }
  }

  async loadOlder(room: Room): Promise<void> {
    if (room.isLoading || !room.log.more) return;
    const before = room.log.olderBefore;
    await this.#load(room, { limit: PAGE_SIZE, ...(before !== undefined && { before }) }, (page) =>
      room.log.addOlder(page),
    );
  }

  async loadGap(room: Room, gap: Gap): Promise<void> {
    if (room.isLoading) return;
    await this.#load(room, { limit: PAGE_SIZE, before: gap.before }, (page) =>
      room.log.fillGap(gap, page),
    );
  }

  async loadMembers(room: Room): Promise<void> {
    room.setMembers(await this.request("who", ...roomArgument(room.name)));
  }

  async #load(room: Room, rest: HistoryQuery, use: (page: Answers["history"]) => void) {
    room.isLoading = true;
    room.loadFailed = false;
    try {
      use(await this.request("history", query(room, rest)));
    } catch (error) {
      room.loadFailed = true;
      throw error;
    } finally {
      room.isLoading = false;
    }
  }

  async #skipToNewest(room: Room, after: number): Promise<void> {
    const page = await this.request("history", query(room, { limit: FILL_PAGE_SIZE }));
    const first = page.messages[0];
    this.onMissed(room, room.log.addNewer(page));
    if (first) room.log.openGap(after, first.serverOffset);
    const last = page.messages.at(-1);
    if (last) room.advance(last.serverOffset);
    room.needsFill = false;
  }
}

function query(room: Room, rest: HistoryQuery): HistoryQuery {
  return room.name === null ? rest : { room: room.name, ...rest };
}

/** The lobby is named by leaving the argument out. */
export function roomArgument(room: RoomName): [string] | [] {
  return room === null ? [] : [room];
}
