// What the page remembers between visits and what its address asks for. A tab's own choice comes
// before the browser's latest, so that two tabs can be two people and stay so after a reload.
import { NAME_LENGTH } from "./protocol";
import { browserStorage, tabStorage } from "./storage";

const NAME = "chatcluster.name";
const ROOMS = "chatcluster.rooms";
const TOKEN = "chatcluster.token";

export function loadName(): string | undefined {
  return validName(remembered(NAME) ?? "");
}

/** A name that the user chose: also the default of the next tab. */
export function saveChosenName(name: string): void {
  tabStorage.setItem(NAME, name);
  browserStorage.setItem(NAME, name);
}

/** A name that the server gave (`guest-...`): kept by this tab, so that it survives a reload. */
export function saveGivenName(name: string): void {
  tabStorage.setItem(NAME, name);
}

/** The name without its outer blanks, or `undefined` if the server would not take it. */
export function validName(text: string): string | undefined {
  const name = text.trim();
  return name && [...name].length <= NAME_LENGTH && !/\p{Cc}/u.test(name) ? name : undefined;
}

export function loadRooms(): string[] {
  try {
    const rooms: unknown = JSON.parse(remembered(ROOMS) ?? "[]");
    return Array.isArray(rooms) ? rooms.filter((room) => typeof room === "string") : [];
  } catch {
    return [];
  }
}

export function saveRooms(rooms: readonly string[]): void {
  const text = JSON.stringify(rooms);
  tabStorage.setItem(ROOMS, text);
  browserStorage.setItem(ROOMS, text);
}

/** `#token=` in the address replaces the stored token and leaves the address; empty forgets it. */
export function takeToken(): string | undefined {
  const fragment = new URLSearchParams(location.hash.slice(1));
  const given = fragment.get("token");
  if (given !== null) {
    if (given) browserStorage.setItem(TOKEN, given);
    else browserStorage.removeItem(TOKEN);
    history.replaceState(null, "", location.pathname + location.search);
  }
  return browserStorage.getItem(TOKEN) ?? undefined;
}

export function forgetToken(): void {
  browserStorage.removeItem(TOKEN);
}

/** `?transport=polling|websocket`, for tests and support. */
export function chosenTransport(): "polling" | "websocket" | undefined {
  const transport = new URLSearchParams(location.search).get("transport");
  return transport === "polling" || transport === "websocket" ? transport : undefined;
}

function remembered(key: string): string | null {
  return tabStorage.getItem(key) ?? browserStorage.getItem(key);
}
