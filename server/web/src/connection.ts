// The page's one connection: how it authenticates, its state, going offline and back, requests
// with a deadline. Never touches `auth.pid` and `auth.offset`: those are the client library's own,
// and setting them would break connection state recovery.
import type { io as connectTo } from "socket.io-client";
import { Backoff } from "./backoff";
import type { Answer, Answers, ChatSocket, Refusal } from "./protocol";

export type ConnectionState = "connected" | "connecting" | "offline";

export interface ConnectionOptions {
  transport?: "polling" | "websocket" | undefined;
  /** Asked anew for each connection. */
  auth(): Record<string, unknown>;
  onStateChange(): void;
  /** The server refuses this client and will not change its mind by itself. */
  onRefused(refusal: Refusal): void;
}

/** The server answered, and the answer is no. */
export class Refused extends Error {
  constructor(readonly refusal: Refusal) {
    super(refusal.message);
  }
}

/** No answer within the deadline, or the connection ended first: it may have happened or not. */
export class NotAnswered extends Error {}

const ANSWER_DEADLINE_MS = 10_000;
const REQUEST_TRIES = 5;

export class Connection {
  readonly socket: ChatSocket;
  /** Why there is no connection, for people. */
  problem = "";
  /** By the user's wish. */
  #isOffline = false;
  #isRefused = false;
  readonly #backoff = new Backoff();
  #retryTimer: ReturnType<typeof setTimeout> | undefined;
  readonly #options: ConnectionOptions;

  constructor(io: typeof connectTo, options: ConnectionOptions) {
    this.#options = options;
    this.socket = io({
      autoConnect: false,
      auth: (give) => give(options.auth()),
      ...(options.transport && { transports: [options.transport] }),
    });
    this.socket.on("connect", () => {
      this.problem = "";
      this.#backoff.reset();
      options.onStateChange();
    });
    this.socket.on("disconnect", (reason) => {
      // The library reconnects by itself, except when the server ended the session.
      if (reason === "io server disconnect") this.#connectLater();
      options.onStateChange();
    });
    this.socket.on("connect_error", (error) => this.#onConnectError(error));
  }

  get state(): ConnectionState {
    if (this.#isOffline || this.#isRefused) return "offline";
    return this.socket.connected ? "connected" : "connecting";
  }

  connect(): void {
    this.#isOffline = false;
    this.#isRefused = false;
    this.problem = "";
    this.socket.io.reconnection(true);
    this.socket.connect();
    this.#options.onStateChange();
  }

  /**
   * Cuts the transport, as a lost network would, so that coming back exercises recovery;
   * `socket.disconnect()` would end the session instead. Stays offline until `connect`.
   */
  goOffline(): void {
    this.#isOffline = true;
    clearTimeout(this.#retryTimer);
    this.socket.io.reconnection(false);
    if (this.socket.connected) this.socket.io.engine.close();
    else this.socket.disconnect(); // not connected: nothing is sent, only the tries end
    this.#options.onStateChange();
  }

  /** Ends this session and begins another: a changed name takes effect with a new one only. */
  restart(): void {
    if (this.#isOffline) return;
    clearTimeout(this.#retryTimer);
    this.socket.disconnect();
    this.connect();
  }

  /** One try with a deadline. */
  async requestOnce<E extends keyof Answers>(event: E, ...args: unknown[]): Promise<Answers[E]> {
    if (!this.socket.connected) throw new NotAnswered("not connected");
    let answer: Answer<Answers[E]>;
    try {
      answer = await this.socket.timeout(ANSWER_DEADLINE_MS).emitWithAck(event, ...args);
    } catch (error) {
      throw new NotAnswered(String(error));
    }
    if ("error" in answer) throw new Refused(answer.error);
    return answer;
  }

  /** Tries again after passing refusals, for requests that may be repeated freely. */
  async request<E extends keyof Answers>(event: E, ...args: unknown[]): Promise<Answers[E]> {
    const backoff = new Backoff();
    for (let tries = 1; ; tries += 1) {
      try {
        return await this.requestOnce(event, ...args);
      } catch (error) {
        const passes = error instanceof Refused && error.refusal.retry;
        if (!passes || tries === REQUEST_TRIES) throw error;
        await new Promise((resolve) => setTimeout(resolve, backoff.next()));
      }
    }
  }

  #onConnectError(error: Error & { data?: unknown }): void {
    if (this.#isOffline) return;
    const refusal = asRefusal(error.data);
    // Without a refusal the transport failed, and the library tries again by itself.
    this.problem = refusal?.message ?? "";
    if (refusal && !refusal.retry) {
      this.#isRefused = true;
      this.#options.onRefused(refusal);
    } else if (!this.socket.active) {
      this.#connectLater();
    }
    this.#options.onStateChange();
  }

  #connectLater(): void {
    clearTimeout(this.#retryTimer);
    this.#retryTimer = setTimeout(() => {
      if (this.state !== "offline") this.socket.connect();
    }, this.#backoff.next());
  }
}

function asRefusal(data: unknown): Refusal | undefined {
  const refusal = data as Partial<Refusal> | null | undefined;
  return typeof refusal?.code === "number" && typeof refusal.retry === "boolean"
    ? { message: "refused", ...refusal, code: refusal.code, retry: refusal.retry }
    : undefined;
}
