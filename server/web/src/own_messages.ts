// Which stored messages are the user's own. Messages name their author but not his identity, and
// two people may bear one name; so a message is own if this browser holds its acknowledgement.
import type { Stored } from "./protocol";
import type { KeyValueStore } from "./storage";

const KEY = "chatcluster.own";
const LIMIT = 1_000;

export class OwnMessages {
  readonly #ofTab: Set<number>;
  readonly #ofBrowser: Set<number>;

  constructor(
    private readonly tab: KeyValueStore,
    private readonly browser: KeyValueStore,
  ) {
    this.#ofTab = read(tab);
    this.#ofBrowser = read(browser);
  }

  add(serverOffset: number): void {
    this.#ofTab.add(serverOffset);
    write(this.tab, this.#ofTab);
    // Another tab may have written since: its list is read again before it is replaced.
    const ofBrowser = read(this.browser).add(serverOffset);
    write(this.browser, ofBrowser);
  }

  /** `nameIsProven`: names come from tokens, so the own name is nobody else's. */
  has(message: Stored, ownName: string, nameIsProven: boolean): boolean {
    if (this.#ofTab.has(message.serverOffset)) return true;
    if (message.author !== ownName) return false;
    return nameIsProven || this.#ofBrowser.has(message.serverOffset);
  }
}

function read(storage: KeyValueStore): Set<number> {
  const text = storage.getItem(KEY) ?? "";
  return new Set(text.split(",").filter(Boolean).map(Number));
}

function write(storage: KeyValueStore, offsets: Set<number>): void {
  storage.setItem(KEY, [...offsets].slice(-LIMIT).join(","));
}
