// The chat as the page shows it: rooms, session, what arrives and what is written. Owns the state;
// the view reads it and is told of changes. `connection`, `room_sync` and `sender` do the talking.
import type { io as connectTo } from "socket.io-client";
import { Announcer } from "./announcer";
import { newClientOffset } from "./client_offset";
import { Connection, type ConnectionState, Refused } from "./connection";
import { Identity } from "./identity";
import { Membership } from "./membership";
import type { Gap } from "./message_log";
import { Outbox, type OutboxStore, type Unsent } from "./outbox";
import { OwnMessages } from "./own_messages";
import {
  NAME_LENGTH,
  type Presence,
  type Refusal,
  type RoomName,
  type Session,
  type Stored,
} from "./protocol";
import type { Room } from "./room";
import { RoomSync, roomArgument } from "./room_sync";
import { buildRows, type Row } from "./rows";
import { Sender } from "./sender";
import * as settings from "./settings";
import { browserStorage, tabStorage } from "./storage";

/** A room keeps this many messages, older ones are paged in; more while it is read backwards. */
const KEPT_MESSAGES = 1_000;
const KEPT_WHILE_READING = 10_000;
const TYPING_EVERY_MS = 2_000;
const NAMELESS = "me";

export class Chat {
  readonly announcer = new Announcer(() => this.#changed());
  session: Session | null = null;
  /** The socket's id, as others are told of it; offline the last one. */
  ownId: string | undefined;
  current: RoomName = null;
  /** The reader is at the newest message: older ones may be dropped, new ones count as read. */
  isAtEnd = true;
  /** The view's field follows the shown room's draft when it changes from outside. */
  onDraft: () => void = () => {};
  readonly identity = new Identity();
  readonly #outbox: Outbox;
  readonly #own = new OwnMessages(tabStorage, browserStorage);
  /** The clientOffset of each own message of this visit: the key of its element in the list. */
  readonly #keys = new Map<number, string>();
  readonly #connection: Connection;
  readonly #sync: RoomSync;
  readonly #sender: Sender;
  readonly #membership: Membership;
  readonly #listeners = new Set<() => void>();
  #typingSentAt = 0;
  #hasSession = false;
  /** What was told of the last refused connection: it ends with the next session. */
  #refused = "";
  /** What the first connection brings of the lobby is history up to here; its `session` says where. */
  #newsAfter = Number.POSITIVE_INFINITY;

  constructor(io: typeof connectTo, store: OutboxStore) {
    this.#outbox = new Outbox(store);
    this.#connection = new Connection(io, {
      transport: settings.chosenTransport(),
      auth: () => this.#auth(),
      onStateChange: () => this.#onStateChange(),
      onRefused: (refusal) => this.#onConnectionRefused(refusal),
    });
    this.#sync = new RoomSync(
      (event, ...args) => this.#connection.request(event, ...args),
      (room, messages) => this.#onMissed(room, messages),
    );
    this.#sender = new Sender({
      outbox: this.#outbox,
      request: (event, ...args) => this.#connection.requestOnce(event, ...args),
      canSend: (room) => this.#isReady() && this.rooms.get(room)?.isJoined === true,
      onStored: (entry, serverOffset) => this.#onStored(entry, serverOffset),
      onRefused: (entry) => this.#onRefused(entry),
      onChange: () => this.#changed(),
    });
    this.#membership = new Membership({
      sync: this.#sync,
      outbox: this.#outbox,
      request: (event, ...args) => this.#connection.request(event, ...args),
      isReady: () => this.#isReady(),
      onJoined: (room) => this.#onJoined(room),
      onRemoved: (room) => this.#onRemoved(room),
      onProblem: (text) => this.announcer.problem(text),
      onPresenceDue: () => this.loadMembers(),
    });
    this.#listen();
  }

  get state(): ConnectionState {
    return this.#connection.state;
  }

  get problem(): string {
    return this.#connection.problem;
  }

  /** The lobby and the rooms that the user is in. */
  get rooms(): ReadonlyMap<RoomName, Room> {
    return this.#membership.rooms;
  }

  /** The room that is shown. */
  get room(): Room {
    return this.rooms.get(this.current) ?? this.#lobby;
  }

  subscribe(listener: () => void): () => void {
    this.#listeners.add(listener);
    return () => {
      this.#listeners.delete(listener);
    };
  }

  start(): void {
    this.#connection.connect();
  }

  toggleOffline(): void {
    if (this.state === "offline") this.#connection.connect();
    else this.#connection.goOffline();
  }

  rows(): Row[] {
    return buildRows({
      messages: this.room.log.messages,
      gaps: this.room.log.gaps,
      unsent: this.#outbox.inRoom(this.current),
      ownName: this.identity.name || NAMELESS,
      isOwn: (message) => this.#isOwn(message),
      clientOffsetOf: (serverOffset) => this.#keys.get(serverOffset),
    });
  }

  // --- what the user does

  send(content: string): boolean {
    if (!this.#outbox.add(this.current, content, newClientOffset(), Date.now())) {
      this.announcer.problem("Too many messages wait to be sent. Go online first.");
      return false;
    }
    this.#typingSentAt = 0;
    this.#sender.wake();
    this.setAtEnd(true); // where it appears
    this.#changed();
    return true;
  }

  discard(clientOffset: string): void {
    this.#outbox.discard(clientOffset);
    this.#changed();
  }

  /** A refused message goes back to where it was written. */
  edit(clientOffset: string): void {
    const entry = this.#outbox
      .inRoom(this.current)
      .find((each) => each.clientOffset === clientOffset);
    if (!entry) return;
    const { room } = this;
    room.draft = room.draft ? `${room.draft}\n${entry.content}` : entry.content;
    this.discard(clientOffset);
    this.onDraft();
  }

  noteTyping(): void {
    const now = Date.now();
    if (!this.#isReady() || now - this.#typingSentAt < TYPING_EVERY_MS) return;
    this.#typingSentAt = now;
    this.#connection.socket.volatile.emit("typing", ...roomArgument(this.current));
  }

  open(name: RoomName): void {
    if (!this.rooms.has(name)) return;
    this.current = name;
    this.isAtEnd = true;
    this.room.unread = 0;
    this.announcer.forget();
    this.loadMembers();
    this.#changed();
  }

  loadMembers(): void {
    if (!this.#isReady() || !this.room.isJoined) return;
    this.#try(this.#sync.loadMembers(this.room), "The members are not known");
  }

  /** Returns what is wrong with the name, or nothing. */
  join(text: string): string {
    const name = settings.validName(text);
    if (name === undefined) return `A room's name has 1 to ${NAME_LENGTH} characters.`;
    this.#membership.join(name);
    this.open(name);
    return "";
  }

  leave(room: Room): void {
    if (this.#membership.leave(room)) this.announcer.status(`You left ${room.title}.`);
    else this.announcer.problem(`${room.title} has messages that are not sent yet.`);
  }

  rename(text: string): void {
    if (this.identity.rename(text)) this.#connection.restart();
    this.#changed();
  }

  loadOlder(): void {
    const { room } = this;
    if (!this.#isReady() || !room.isJoined || room.isLoading || room.loadFailed) return;
    if (!room.log.more) return;
    this.#try(this.#sync.loadOlder(room), "Older messages could not be loaded");
    this.#changed();
  }

  retryOlder(): void {
    this.room.loadFailed = false;
    this.loadOlder();
  }

  loadGap(gap: Gap): void {
    if (!this.#isReady()) return;
    this.#try(this.#sync.loadGap(this.room, gap), "The missing messages could not be loaded");
    this.#changed();
  }

  /** The reader is at the newest message, or has scrolled away from it. */
  setAtEnd(isAtEnd: boolean): void {
    const isRead = isAtEnd && !document.hidden;
    if (this.isAtEnd === isAtEnd && !(isRead && this.room.unread > 0)) return;
    this.isAtEnd = isAtEnd;
    if (isAtEnd) this.room.log.trim(KEPT_MESSAGES);
    if (isRead) this.room.unread = 0;
    this.#changed();
  }

  // --- what the server says

  #listen(): void {
    const { socket } = this.#connection;
    socket.on("session", (session) => this.#onSession(session));
    socket.on("chat message", (content, serverOffset, stamp) =>
      this.#onMessage(null, { content, serverOffset, ...stamp }),
    );
    socket.on("room:message", (room, content, serverOffset, stamp) =>
      this.#onMessage(room, { content, serverOffset, ...stamp }),
    );
    socket.on("history gap", ({ after, before }) => {
      this.#lobby.log.openGap(after, before);
      this.#changed();
    });
    socket.on("typing", ({ room, author }) => {
      if (author === this.identity.name) return;
      this.rooms.get(room)?.noteTyping(author, Date.now());
      this.#changed();
    });
    socket.on("joined", (presence) => this.#onPresence(presence, true));
    socket.on("left", (presence) => this.#onPresence(presence, false));
  }

  #onSession(session: Session): void {
    if (!this.identity.accept(session)) {
      this.#connection.restart();
      return;
    }
    if (!this.session) this.#newsAfter = session.serverOffset;
    this.#lobby.advance(session.serverOffset);
    this.session = session;
    this.ownId = this.#connection.socket.id;
    this.#hasSession = true;
    this.announcer.dismissProblem(this.#refused);
    this.announcer.status(
      session.recovered
        ? `Reconnected to node ${session.node}, nothing was missed.`
        : `Connected to node ${session.node}.`,
    );
    this.#membership.onSession(session.recovered);
    this.loadMembers();
    this.#sender.wake();
    this.#changed();
  }

  #onMessage(name: RoomName, message: Stored): void {
    const room = this.rooms.get(name);
    if (!room) return; // left while it was under way
    this.#outbox.matchEcho(name, message, this.identity.name);
    room.stopTyping(message.author);
    if (room.addEvent(message)) this.#onNewMessages(room, [message]);
    this.#changed();
  }

  #onMissed(room: Room, messages: readonly Stored[]): void {
    for (const message of messages) this.#outbox.matchEcho(room.name, message, this.identity.name);
    this.#onNewMessages(room, messages);
  }

  /** Counts and announces; what a first visit to the lobby brings is history, not news. */
  #onNewMessages(room: Room, messages: readonly Stored[]): void {
    const isShown = room.name === this.current && this.isAtEnd;
    const since = room.name === null ? this.#newsAfter : 0;
    for (const message of messages) {
      if (message.serverOffset <= since || this.#isOwnOrEcho(room, message)) continue;
      if (!isShown || document.hidden) room.unread += 1;
      if (room.name === this.current) this.announcer.message(message);
    }
    const isReadBackwards = room.name === this.current && !this.isAtEnd;
    room.log.trim(isReadBackwards ? KEPT_WHILE_READING : KEPT_MESSAGES);
  }

  #onPresence(presence: Presence, isHere: boolean): void {
    this.#membership.notePresence(presence, isHere);
    this.#changed();
  }

  #onJoined(room: Room): void {
    this.#sender.wake();
    if (room === this.room) this.loadMembers();
    this.#changed();
  }

  #onRemoved(room: Room): void {
    if (this.current === room.name) this.open(null);
    this.#changed();
  }

  #onStored(entry: Unsent, serverOffset: number): void {
    const room = this.rooms.get(entry.room);
    this.#own.add(serverOffset);
    this.#keys.set(serverOffset, entry.clientOffset);
    const { content } = entry;
    room?.log.addAcknowledged({
      serverOffset,
      content,
      author: this.identity.name,
      at: Date.now(),
    });
  }

  #onRefused(entry: Unsent): void {
    this.announcer.status(`A message was not accepted: ${entry.content}`);
  }

  #onStateChange(): void {
    const { state } = this.#connection;
    if (state !== "connected") {
      this.#hasSession = false;
      for (const room of this.rooms.values()) room.forgetTypists();
      this.announcer.status(state === "offline" ? "You are offline." : "Connecting.");
    }
    this.#changed();
  }

  #onConnectionRefused(refusal: Refusal): void {
    const advice = this.identity.onRefused(refusal);
    this.#refused = `The server refused the connection: ${refusal.message}. ${advice}`.trimEnd();
    this.announcer.problem(this.#refused);
  }

  // --- small things

  get #lobby(): Room {
    return this.#membership.lobby;
  }

  #auth(): Record<string, unknown> {
    const serverOffset = this.#lobby.position ?? 0;
    return { ...this.identity.auth(), serverOffset, retryable: true };
  }

  #isReady(): boolean {
    return this.#hasSession && this.#connection.state === "connected";
  }

  #isOwn(message: Stored): boolean {
    return this.#own.has(message, this.identity.name, this.identity.isNamedByToken);
  }

  #isOwnOrEcho(room: Room, message: Stored): boolean {
    const isEcho = this.#outbox.head(room.name)?.seenAt === message.serverOffset;
    return isEcho || this.#isOwn(message);
  }

  /** A lost connection needs no words here: the header says so, and the next session tries again. */
  #try(work: Promise<void>, what: string): void {
    work
      .catch((error: unknown) => {
        if (error instanceof Refused) this.announcer.problem(`${what}: ${error.refusal.message}`);
      })
      .finally(() => this.#changed());
  }

  #changed(): void {
    for (const listener of this.#listeners) listener();
  }
}
