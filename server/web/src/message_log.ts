// The messages of one room that this page holds: keyed and ordered by serverOffset, so that a
// repeated or late message can neither show twice nor out of place. Knows where the known range
// begins (`from`), whether older messages exist (`more`) and which ranges are missing (`gaps`).
import type { Page, Stored } from "./protocol";

/** Messages strictly between the two positions are not here. */
export interface Gap {
  after: number;
  before: number;
}

export class MessageLog {
  #messages: Stored[] = [];
  #gaps: Gap[] = [];
  /** Positions whose time is this browser's guess: an acknowledgement carries none. */
  #guessed = new Set<number>();
  #from: number | null = null;
  #more = true;

  get messages(): readonly Stored[] {
    return this.#messages;
  }

  get gaps(): readonly Gap[] {
    return this.#gaps;
  }

  get more(): boolean {
    return this.#more;
  }

  /** Where the next older page ends; `undefined` asks for the newest page. */
  get olderBefore(): number | undefined {
    return this.#from ?? undefined;
  }

  has(serverOffset: number): boolean {
    return this.#messages[this.#indexOf(serverOffset)]?.serverOffset === serverOffset;
  }

  /** A live or replayed event. Returns whether it is new here. */
  addEvent(message: Stored): boolean {
    this.#extendTo(message.serverOffset);
    return this.#insert(message);
  }

  /**
   * An own message by its acknowledgement. A duplicate may lie before the known range or inside a
   * gap: there it would stand as an island that paging skips over, so its page will bring it.
   */
  addAcknowledged(message: Stored): boolean {
    const { serverOffset } = message;
    if (this.#from !== null && serverOffset < this.#from) return false;
    if (this.#gaps.some((gap) => gap.after < serverOffset && serverOffset < gap.before))
      return false;
    if (!this.#insert(message)) return false;
    this.#guessed.add(serverOffset);
    return true;
  }

  /** The page that `history {before: olderBefore}` gave. */
  addOlder(page: Page): void {
    for (const message of page.messages) this.#insert(message);
    const first = page.messages[0];
    if (first) this.#extendTo(first.serverOffset);
    this.#more = page.more;
  }

  /** A page of `history {after}`; returns the messages that are new here. */
  addNewer(page: Page): Stored[] {
    return page.messages.filter((message) => this.addEvent(message));
  }

  openGap(after: number, before: number): void {
    const known = this.#messages[0];
    if (!known || known.serverOffset > after) {
      this.#more = true;
      return;
    }
    if (after + 1 >= before || this.#gaps.some((gap) => gap.before === before)) return;
    this.#gaps.push({ after, before });
    this.#gaps.sort((a, b) => a.before - b.before);
  }

  /** The page that `history {before: gap.before}` gave: closes the gap or moves its upper end down. */
  fillGap(gap: Gap, page: Page): void {
    const first = page.messages[0];
    for (const message of page.messages) this.#insert(message);
    this.#gaps = this.#gaps.filter((open) => open !== gap);
    if (first && page.more && first.serverOffset > gap.after + 1) {
      this.openGap(gap.after, first.serverOffset);
    }
  }

  /** Forgets the oldest messages beyond `limit`; they can be paged in again. */
  trim(limit: number): void {
    if (this.#messages.length <= limit) return;
    for (const dropped of this.#messages.splice(0, this.#messages.length - limit)) {
      this.#guessed.delete(dropped.serverOffset);
    }
    const from = this.#messages[0]?.serverOffset ?? 0;
    this.#from = from;
    this.#more = true;
    this.#gaps = this.#gaps.filter((gap) => gap.before > from);
  }

  #extendTo(serverOffset: number): void {
    this.#from = this.#from === null ? serverOffset : Math.min(this.#from, serverOffset);
  }

  #insert(message: Stored): boolean {
    const index = this.#indexOf(message.serverOffset);
    const present = this.#messages[index];
    if (present?.serverOffset !== message.serverOffset) {
      this.#messages.splice(index, 0, message);
      return true;
    }
    if (this.#guessed.delete(message.serverOffset)) this.#messages[index] = message;
    return false;
  }

  /** The index of the first message at or after this position. */
  #indexOf(serverOffset: number): number {
    let low = 0;
    let high = this.#messages.length;
    while (low < high) {
      const middle = (low + high) >>> 1;
      const candidate = this.#messages[middle];
      if (candidate && candidate.serverOffset < serverOffset) low = middle + 1;
      else high = middle;
    }
    return low;
  }
}
