// What a screen reader is told: new messages (never history, never a flood) and changes of state.
import type { Stored } from "./protocol";

const GATHER_MS = 300;
/** More new messages than this within the gathering time are told as a number. */
const TOLD_SINGLY = 4;
const KEPT_LINES = 20;

export interface Line {
  key: number;
  text: string;
}

export class Announcer {
  lines: Line[] = [];
  statusText = "";
  /** Shown until it is dismissed, and told. */
  problemText = "";
  #gathered: Stored[] = [];
  #timer: ReturnType<typeof setTimeout> | undefined;
  #nextKey = 0;

  constructor(private readonly onChange: () => void) {}

  message(message: Stored): void {
    this.#gathered.push(message);
    this.#timer ??= setTimeout(() => this.#tell(), GATHER_MS);
  }

  status(text: string): void {
    this.statusText = text;
    this.onChange();
  }

  problem(text: string): void {
    this.problemText = text;
    this.onChange();
  }

  /** With a text: only if that is what is shown. */
  dismissProblem(text = this.problemText): void {
    if (text === this.problemText) this.problem("");
  }

  /** Another room is shown: what was said here is no news there. */
  forget(): void {
    clearTimeout(this.#timer);
    this.#timer = undefined;
    this.#gathered = [];
    this.lines = [];
  }

  #tell(): void {
    this.#timer = undefined;
    const texts =
      this.#gathered.length > TOLD_SINGLY
        ? [`${this.#gathered.length} new messages`]
        : this.#gathered.map(({ author, content }) => `${author}: ${content}`);
    this.#gathered = [];
    const lines = texts.map((text) => ({ key: this.#nextKey++, text }));
    this.lines = [...this.lines, ...lines].slice(-KEPT_LINES);
    this.onChange();
  }
}
