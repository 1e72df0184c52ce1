// The chat page in a browser, by its data-testid hooks.
import { spawnSync } from "node:child_process";
import { mkdirSync } from "node:fs";
import { join } from "node:path";
import { fileURLToPath } from "node:url";
import { chromium } from "playwright-core";
import { SOON, until } from "../support/wait.mjs";

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

  async join(room) {
    await this.hook("room-join-input").fill(room);
    await this.hook("room-join").click();
    await this.hook("room-list").getByText(room).first().waitFor({ state: "attached" });
  }

  /** Loads a page of what is missing at the first gap, and waits until it stands there. */
  async loadGap() {
    const before = (await this.offsets()).length;
    await this.hook("gap").first().getByRole("button").click();
    await until(async () => (await this.offsets()).length > before, SOON, "the gap becomes smaller");
  }

  async offsetsAre(count) {
    await until(async () => (await this.offsets()).length === count, SOON, `${count} messages are shown`);
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

/**
 * The texts and placeholders with less than 4.5 : 1 of contrast to what they stand on (WCAG 2.2, 1.4.3).
 * @param {import("playwright-core").Page} page
 */
export function faintTexts(page) {
  return page.evaluate(() => {
    const channels = (colour) => {
      const [red, green, blue, alpha = 1] = colour.match(/[\d.]+/g).map(Number);
      return [red, green, blue, alpha];
    };
    const blend = (top, under) => [0, 1, 2].map((i) => top[i] * top[3] + under[i] * (1 - top[3]));
    const luminance = (colour) => {
      const [red, green, blue] = colour.map((value) => (value <= 10 ? value / 3294.6 : ((value / 255 + 0.055) / 1.055) ** 2.4));
      return 0.2126 * red + 0.7152 * green + 0.0722 * blue;
    };
    const ground = (element) =>
      element ? blend(channels(getComputedStyle(element).backgroundColor), ground(element.parentElement)) : [255, 255, 255];
    const contrast = (element, colour) => {
      const under = ground(element);
      const [dark, bright] = [luminance(blend(channels(colour), under)), luminance(under)].sort((x, y) => x - y);
      return (bright + 0.05) / (dark + 0.05);
    };
    const texts = [...document.querySelectorAll("#app *")].filter(
      (element) =>
        element.checkVisibility({ visibilityProperty: true }) &&
        !element.closest(".hidden, .skip") &&
        [...element.childNodes].some((node) => node.nodeType === Node.TEXT_NODE && node.data.trim()),
    );
    if (texts.length < 10) throw new Error(`only ${texts.length} texts are shown`);
    const fields = [...document.querySelectorAll("input, textarea")];
    return [
      ...texts.map((element) => [element.textContent, contrast(element, getComputedStyle(element).color)]),
      ...fields.map((field) => [field.placeholder, contrast(field, getComputedStyle(field, "::placeholder").color)]),
    ]
      .filter(([, ratio]) => ratio < 4.5)
      .map(([text, ratio]) => `${text.slice(0, 30)}: ${ratio.toFixed(2)}`);
  });
}
