// The chat page in a browser, by its data-testid hooks.
import { spawnSync } from "node:child_process";
import { mkdirSync } from "node:fs";
import { join } from "node:path";
import { fileURLToPath } from "node:url";
import { chromium } from "playwright-core";
import { SOON } from "../support/wait.mjs";

const ARTIFACTS = fileURLToPath(new URL("../artifacts/", import.meta.url));

/** Starts Chromium: CHROMIUM, or the first of the usual names on the PATH. @param {...string} flags */
export async function launch(...flags) {
  const names = process.env.CHROMIUM ? [process.env.CHROMIUM] : ["chromium", "chromium-browser", "google-chrome"];
  const found = names.map((name) => spawnSync("which", [name], { encoding: "utf8" }).stdout.trim()).find(Boolean);
  if (!found) throw new Error(`no browser: none of ${names.join(", ")} is on the PATH. Install Chromium (Debian: apt-get install chromium) or set CHROMIUM`);
  return chromium.launch({ executablePath: found, args: ["--no-sandbox", "--disable-dev-shm-usage", ...flags] });
}

/** One tab in a context of its own: a person with own storage. */
export class Tab {
  errors = [];

  /** @param {import("playwright-core").Browser} browser @param {string} url @param {object} [context] */
  static async open(browser, url, context = {}) {
    const tab = new Tab(await browser.newContext(context));
    await tab.start(url);
    return tab;
  }

  /** @param {import("playwright-core").BrowserContext} context */
  constructor(context) {
    this.context = context;
  }

  async start(url) {
    this.page = await this.context.newPage();
    this.page.setDefaultTimeout(2 * SOON);
    this.page.on("pageerror", (error) => this.errors.push(error.message));
    await this.page.goto(url);
    await this.state("connected");
  }

  hook(name) {
    return this.page.getByTestId(name);
  }

  /** Waits until the page says that it is in this state. */
  state(name) {
    return this.page.locator(`[data-testid=status][data-state=${name}]`).waitFor();
  }

  recovered(value) {
    return this.page.locator(`[data-testid=recovered][data-recovered=${value}]`).waitFor({ state: "attached" });
  }

  async say(text) {
    await this.hook("message-input").fill(text);
    await this.hook("send").click();
  }

  messages(text, state) {
    const own = state ? `[data-testid=message][data-state=${state}]` : "[data-testid=message]";
    return this.page.locator(own).filter({ hasText: text });
  }

  /** Waits until the message stands there as sent, and once. */
  async shows(text) {
    await this.messages(text, "sent").first().waitFor();
    const count = await this.messages(text).count();
    if (count !== 1) throw new Error(`"${text}" is shown ${count} times`);
  }

  /** The positions of the messages from top to bottom. */
  offsets() {
    return this.page.locator("[data-testid=message][data-offset]").evaluateAll((items) => items.map(({ dataset }) => Number(dataset.offset)));
  }

  async screenshot(name) {
    mkdirSync(ARTIFACTS, { recursive: true });
    const path = join(ARTIFACTS, `${name.replace(/[^\w-]+/g, "-").slice(0, 80)}.png`);
    await this.page.screenshot({ path }).catch(() => {});
    return path;
  }
}
