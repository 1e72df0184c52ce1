// An example as its reader runs it: a child process, with what it prints line by line and its standard input.
import { spawn } from "node:child_process";
import { createInterface } from "node:readline";
import { fileURLToPath } from "node:url";
import { Inbox, within } from "../support/wait.mjs";

/** Long enough for a client that reconnects with its library's own pauses, up to five seconds each. */
export const PATIENT = 20_000;

/** @param {string} path below examples/ */
export const example = (path) => fileURLToPath(new URL(`../../../examples/${path}`, import.meta.url));

/** @type {Set<import("node:child_process").ChildProcess>} */
const running = new Set();
process.on("exit", () => {
  for (const child of running) child.kill("SIGKILL");
});

export class Program {
  /** @type {Inbox<string>} what it printed, errors too */
  lines;
  #child;
  #ended;

  /** @param {string} url of the chat @param {string} command @param {...string} args */
  constructor(url, command, ...args) {
    this.#child = spawn(command, args, { env: { ...process.env, CHAT_URL: url }, stdio: "pipe" });
    running.add(this.#child);
    this.lines = new Inbox(args.join(" "));
    for (const stream of [this.#child.stdout, this.#child.stderr]) {
      createInterface({ input: stream }).on("line", (line) => this.lines.push(line));
    }
    // a program that ended on its own account is noticed by the one who reads its lines
    this.#child.stdin.on("error", () => {});
    this.#ended = new Promise((done) => {
      this.#child.on("error", (error) => done(error.message));
      this.#child.on("close", (code, signal) => done(code ?? signal));
    }).then((how) => {
      running.delete(this.#child);
      this.lines.end(`with ${how}`);
      return how;
    });
  }

  /** What it was told by others and shows; what it says of itself begins with two dashes. */
  get messages() {
    return this.lines.all.filter((line) => !line.startsWith("--"));
  }

  /** Types a line. @param {string} line */
  type(line) {
    this.#child.stdin.write(`${line}\n`);
  }

  /** Waits until it has printed this line, among those not read yet. @param {string} line */
  shows(line) {
    return this.lines.find((printed) => printed === line, `the line "${line}"`, PATIENT);
  }

  /** Ends its input, and waits for its exit code. */
  finish() {
    this.#child.stdin.end();
    return within(this.#ended, PATIENT, `${this.lines.name} ends; printed: ${JSON.stringify(this.lines.all.slice(-20))}`);
  }

  kill() {
    this.#child.kill("SIGKILL");
    return this.#ended;
  }
}
