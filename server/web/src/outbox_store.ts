// Gives each tab an outbox of its own in localStorage, held by a Web Lock, so that no two tabs send
// the same message; what a closed tab left unsent is taken over by the next one that opens.
// Without Web Locks (a page that came over plain http from another machine) the outbox lives in
// sessionStorage: it survives a reload, but not its tab.
import type { OutboxStore, Unsent } from "./outbox";
import { browserStorage, type KeyValueStore, tabStorage } from "./storage";

const PREFIX = "chatcluster.outbox.";
const TAB_KEY = "chatcluster.tab";
/** A reload waits this long for its former self to let go; a duplicated tab takes a new id then. */
const LOCK_WAIT_MS = 500;

export async function openOutboxStore(newId: () => string): Promise<OutboxStore> {
  if (!("locks" in navigator)) return storeIn(tabStorage, `${PREFIX}tab`);
  const former = tabStorage.getItem(TAB_KEY);
  const id = former && (await hold(PREFIX + former)) ? former : newId();
  if (id !== former) {
    await hold(PREFIX + id);
    tabStorage.setItem(TAB_KEY, id);
  }
  const store = storeIn(browserStorage, PREFIX + id);
  await adoptOrphans(store, PREFIX + id);
  return store;
}

/** Takes the lock for as long as this page lives. Resolves with whether it was given. */
function hold(name: string): Promise<boolean> {
  return new Promise((resolve) => {
    navigator.locks
      .request(name, { signal: AbortSignal.timeout(LOCK_WAIT_MS) }, () => {
        resolve(true);
        return new Promise<never>(() => {});
      })
      .catch(() => resolve(false));
  });
}

async function adoptOrphans(store: OutboxStore, ownKey: string): Promise<void> {
  const keys = browserStorage.keys().filter((key) => key.startsWith(PREFIX) && key !== ownKey);
  for (const key of keys) {
    await navigator.locks.request(key, { ifAvailable: true }, (lock) => {
      if (!lock) return;
      const orphans = parse(browserStorage.getItem(key));
      const known = new Set(store.load().map((entry) => entry.clientOffset));
      store.save([...store.load(), ...orphans.filter((entry) => !known.has(entry.clientOffset))]);
      browserStorage.removeItem(key);
    });
  }
}

function storeIn(storage: KeyValueStore, key: string): OutboxStore {
  return {
    load: () => parse(storage.getItem(key)),
    save: (entries) => {
      if (entries.length === 0) storage.removeItem(key);
      else storage.setItem(key, JSON.stringify(entries));
    },
  };
}

/** Storage is the user's to edit: anything that is not an entry is left out. */
function parse(text: string | null): Unsent[] {
  try {
    const value: unknown = JSON.parse(text ?? "[]");
    return Array.isArray(value) ? value.filter(isUnsent) : [];
  } catch {
    return [];
  }
}

function isUnsent(value: unknown): value is Unsent {
  const entry = value as Partial<Unsent> | null;
  return (
    typeof entry?.clientOffset === "string" &&
    typeof entry.content === "string" &&
    (entry.room === null || typeof entry.room === "string") &&
    typeof entry.writtenAt === "number" &&
    (entry.state === "pending" || entry.state === "refused")
  );
}
