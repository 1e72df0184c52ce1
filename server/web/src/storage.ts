// Where the page remembers things: the browser's storage, or memory where the browser grants none
// (the user blocks it, or the page stands in a frame of another site), so that the page works all
// the same until it is closed.

/** The part of `Storage` that the page uses. */
export interface KeyValueStore {
  keys(): string[];
  getItem(key: string): string | null;
  setItem(key: string, value: string): void;
  removeItem(key: string): void;
}

/** Blocked storage throws when it is asked for, not only when it is used: hence the function. */
export function openStorage(ask: () => Storage): KeyValueStore {
  try {
    const storage = ask();
    storage.getItem("");
    return new BrowserStore(storage);
  } catch {
    return new MemoryStore();
  }
}

class BrowserStore implements KeyValueStore {
  constructor(private readonly storage: Storage) {}

  keys(): string[] {
    return Object.keys(this.storage);
  }

  getItem(key: string): string | null {
    return this.storage.getItem(key);
  }

  /** Full storage costs what a reload would have found, never what is shown. */
  setItem(key: string, value: string): void {
    try {
      this.storage.setItem(key, value);
    } catch (error) {
      console.warn(`${key} could not be stored`, error);
    }
  }

  removeItem(key: string): void {
    this.storage.removeItem(key);
  }
}

class MemoryStore implements KeyValueStore {
  readonly #values = new Map<string, string>();

  keys(): string[] {
    return [...this.#values.keys()];
  }

  getItem(key: string): string | null {
    return this.#values.get(key) ?? null;
  }

  setItem(key: string, value: string): void {
    this.#values.set(key, value);
  }

  removeItem(key: string): void {
    this.#values.delete(key);
  }
}

/** What one tab keeps over a reload. */
export const tabStorage = openStorage(() => sessionStorage);
/** What all tabs share and later visits find. */
export const browserStorage = openStorage(() => localStorage);
