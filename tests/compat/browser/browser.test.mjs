// The page in headless Chromium, per transport: connect, chat, offline and back, recovery; phone; keyboard; looks.
import assert from "node:assert/strict";
import { mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { after, before, describe, it } from "node:test";
import { contents, fill, People, UNLIMITED } from "../chat/people.mjs";
import { signHs256 } from "../support/jwt.mjs";
import { startChat } from "../support/servers.mjs";
import { until } from "../support/wait.mjs";
import { faintTexts, launch, Tab } from "./page.mjs";

const TRANSPORTS = { "upgrade (the default)": "", polling: "?transport=polling", websocket: "?transport=websocket" };
const PHONE = { viewport: { width: 360, height: 640 }, isMobile: true, hasTouch: true, deviceScaleFactor: 2 };

describe("the page", () => {
  let chat;
  let browser;
  before(async () => {
    browser = await launch();
    chat = await startChat({ nodes: 2, config: { limits: UNLIMITED } });
  }, { timeout: 60_000 });
  after(async () => {
    await browser?.close();
    await chat?.stop();
  });

  /** A test with tabs; what they show is kept as a picture if it fails. `beside`: in the browser of that tab. */
  const pages = (name, test) =>
    it(name, { timeout: 60_000 }, async (t) => {
      const tabs = [];
      const open = async (path = "", { node = 0, url = chat.urls[node], context, beside } = {}) => {
        const tab = new Tab(beside?.context ?? (await browser.newContext(context)));
        tabs.push(tab);
        await tab.start(`${url}/${path}`);
        return tab;
      };
      try {
        await test(open);
        for (const tab of tabs) assert.deepEqual(tab.errors, []);
      } catch (error) {
        for (const [i, tab] of tabs.entries()) t.diagnostic(`picture: ${await tab.screenshot(`${name}-${i}`)}`);
        throw error;
      } finally {
        for (const tab of tabs) await tab.context.close();
      }
    });

  for (const [transport, query] of Object.entries(TRANSPORTS)) {
    pages(`two tabs on two nodes chat both ways, by ${transport}`, async (open) => {
      const [a, b] = await Promise.all([open(query), open(query, { node: 1 })]);
      assert.notEqual(await a.hook("node").innerText(), await b.hook("node").innerText());
      await a.say(`from a by ${transport}`);
      await b.shows(`from a by ${transport}`);
      await b.say(`from b by ${transport}`);
      for (const tab of [a, b]) {
        await tab.shows(`from a by ${transport}`);
        await tab.shows(`from b by ${transport}`);
      }
      const offsets = await a.offsets();
      assert.deepEqual(offsets, [...offsets].sort((x, y) => x - y));
      assert.deepEqual((await b.offsets()).slice(-2), offsets.slice(-2));
    });

    pages(`offline and back: what was missed and what was written meanwhile, once each, recovered, by ${transport}`, async (open) => {
      const [a, b] = await Promise.all([open(query), open(query, { node: 1 })]);
      await a.say(`before ${transport}`);
      await b.shows(`before ${transport}`);
      await b.hook("toggle-offline").click();
      await b.state("offline");
      await a.say(`missed ${transport}`);
      await a.shows(`missed ${transport}`);
      await b.say(`queued ${transport}`);
      await b.messages(`queued ${transport}`, "pending").waitFor();
      await b.hook("toggle-offline").click();
      await b.state("connected");
      await b.recovered(true);
      for (const tab of [a, b]) {
        for (const what of ["before", "missed", "queued"]) await tab.shows(`${what} ${transport}`);
      }
      assert.equal(await b.messages(`queued ${transport}`, "pending").count(), 0);
    });
  }

  pages("the browser's own offline: the page comes back by itself and sends once", async (open) => {
    const [a, b] = await Promise.all([open(), open()]);
    await a.say("seen before the tunnel");
    await b.shows("seen before the tunnel");
    await b.context.setOffline(true);
    await until(async () => (await b.hook("status").getAttribute("data-state")) !== "connected", 10_000);
    await b.say("written in the tunnel");
    await a.say("said outside the tunnel");
    await b.context.setOffline(false);
    await b.state("connected");
    for (const tab of [a, b]) {
      await tab.shows("written in the tunnel");
      await tab.shows("said outside the tunnel");
    }
  });

  pages("two tabs of one browser send each unsent message once: after a reload, and that of a tab that was closed", async (open) => {
    const [a, outside] = await Promise.all([open(), open("", { node: 1 })]);
    const leaveUnsent = async (tab, text) => {
      await tab.hook("toggle-offline").click();
      await tab.state("offline");
      await tab.say(text);
      await tab.messages(text, "pending").waitFor();
    };
    await leaveUnsent(a, "kept by one tab");
    const b = await open("", { beside: a });
    await leaveUnsent(b, "left by a closed tab");
    await b.page.close();
    await a.page.reload();
    await a.state("connected");
    for (const tab of [a, outside]) {
      await tab.shows("kept by one tab");
      await tab.shows("left by a closed tab");
    }
  });

  pages("after a restart of the server nothing is missing: unsent messages, a room, a gap in the lobby that can be loaded", async (open) => {
    const dataDir = mkdtempSync(join(tmpdir(), "chatcluster-"));
    const options = { dataDir, config: { limits: UNLIMITED, history: { replayLimit: 20, replayNewest: 10 } } };
    const people = new People();
    let restarted = await startChat(options);
    try {
      const { port, url } = restarted;
      const ada = await people.enter(url, { name: "Ada" });
      const tab = await open("", { url });
      await tab.join("garden");
      await ada.ask("room:join", "garden");
      await ada.sayIn("garden", "seen in the garden");
      await tab.shows("seen in the garden");
      await tab.hook("room-list").getByText("Lobby").click();
      await fill(ada, 1);
      await tab.offsetsAre(1);
      await tab.hook("toggle-offline").click();
      await tab.state("offline");
      await tab.say("unsent over the restart");
      await fill(ada, 60, 1);
      await ada.sayIn("garden", "missed in the garden");
      await people.close();
      await restarted.stop();
      restarted = await startChat({ ...options, port });
      await tab.hook("toggle-offline").click();
      await tab.shows("unsent over the restart");
      await tab.recovered(false);
      assert.ok((await tab.offsets()).length < 62);
      while (await tab.hook("gap").count()) await tab.loadGap();
      await tab.offsetsAre(62);
      assert.deepEqual(await tab.page.locator(".message-text").allInnerTexts(), [...contents(61), "unsent over the restart"]);
      await tab.hook("room-list").getByText("garden").click();
      await tab.shows("missed in the garden");
      await tab.shows("seen in the garden");
    } finally {
      await people.close();
      await restarted.stop();
      rmSync(dataDir, { recursive: true, force: true });
    }
  });

  pages("a refused token is told, and what is unsent waits for the next one", async (open) => {
    const folder = mkdtempSync(join(tmpdir(), "chatcluster-"));
    const [key, keyFile] = ["k".repeat(32), join(folder, "key")];
    writeFileSync(keyFile, key);
    const secured = await startChat({ config: { auth: { type: "Jwt", jwt: { keyFile } } } });
    const token = (seconds) => `#token=${signHs256({ sub: "ada", exp: Math.floor(Date.now() / 1000) + seconds }, key)}`;
    try {
      const a = await open(token(600), { url: secured.url });
      await a.hook("toggle-offline").click();
      await a.state("offline");
      await a.say("under the next token");
      await a.page.goto("about:blank");
      await a.page.goto(`${secured.url}/${token(-600)}`);
      await a.state("offline");
      await a.page.getByRole("alert").filter({ hasText: "the token has expired" }).waitFor({ state: "attached" });
      await a.messages("under the next token", "pending").waitFor();
      await a.page.goto("about:blank");
      await a.page.goto(`${secured.url}/${token(600)}`);
      await a.state("connected");
      await a.shows("under the next token");
    } finally {
      await secured.stop();
      rmSync(folder, { recursive: true, force: true });
    }
  });

  pages("a message that is sent looks sent, also after a refused one", async (open) => {
    const a = await open();
    const look = (text) => a.messages(text).locator(".message-text").evaluate((bubble) => getComputedStyle(bubble).boxShadow);
    await a.say("too long ".repeat(500));
    await a.messages("too long", "refused").waitFor();
    await a.say("short enough");
    await a.shows("short enough");
    assert.notEqual(await look("too long"), "none");
    await until(async () => (await look("short enough")) === "none", 2_000, "the message looks sent");
  });

  pages("a reloaded page shows the history", async (open) => {
    const a = await open();
    await a.say("kept in the history");
    await a.shows("kept in the history");
    await a.page.reload();
    await a.state("connected");
    await a.shows("kept in the history");
    await (await open("", { node: 1 })).shows("kept in the history");
  });

  pages("what people write is text, never markup", async (open) => {
    const [a, b] = await Promise.all([open(), open()]);
    const text = `<img src=x onerror="document.title='owned'"><b>bold</b>`;
    await a.say(text);
    await b.shows(text);
    assert.equal(await b.page.locator("[data-testid=message] img[src=x], [data-testid=message] b").count(), 0);
    assert.notEqual(await b.page.title(), "owned");
  });

  pages("a named room has its own messages, and shows who is there and who types", async (open) => {
    const [a, b, outside] = await Promise.all([open(), open("", { node: 1 }), open()]);
    for (const tab of [a, b]) {
      await tab.join("garden");
    }
    // A sign of typing may be dropped (it is volatile): who goes on typing sends another.
    const typeUntilSeen = async () => {
      await a.hook("message-input").pressSequentially(".");
      return (await b.hook("typing").innerText()).length > 0;
    };
    await until(typeUntilSeen, 10_000, "b sees that a types");
    await a.hook("message-input").fill("in the garden");
    await a.hook("send").click();
    await b.shows("in the garden");
    await outside.say("in the lobby");
    await outside.shows("in the lobby");
    assert.equal(await outside.messages("in the garden").count(), 0);
    assert.equal(await b.messages("in the lobby").count(), 0);
    await until(async () => (await b.hook("members").locator("li").count()) === 2, 10_000, "two members");
    await b.hook("toggle-offline").click();
    await b.state("offline");
    await a.say("missed in the garden");
    await a.shows("missed in the garden");
    await b.hook("toggle-offline").click();
    await b.shows("missed in the garden");
    await b.recovered(true);
  });

  pages("a name is shown to others", async (open) => {
    const [a, b] = await Promise.all([open(), open()]);
    await a.hook("name-input").fill("Ada Lovelace");
    await a.hook("name-input").press("Enter");
    await a.state("connected");
    await until(async () => (await b.hook("members").innerText()).includes("Ada Lovelace"), 10_000, "b sees the new name");
    await a.say("signed");
    await b.shows("signed");
    assert.ok((await b.messages("signed").innerText()).includes("Ada Lovelace"));
  });

  pages("on a phone nothing scrolls sideways and one can chat", async (open) => {
    const [a, b] = await Promise.all([open("", { context: PHONE }), open()]);
    await b.say(`a_very_long_word_${"x".repeat(400)}`);
    await b.say("wide\n".repeat(3) + "🦀".repeat(200));
    await a.shows("a_very_long_word_");
    await a.say("from the phone");
    await b.shows("from the phone");
    const { scroll, client, inner } = await a.page.evaluate(() => ({
      scroll: document.documentElement.scrollWidth,
      client: document.documentElement.clientWidth,
      inner: window.innerWidth,
    }));
    assert.ok(scroll <= client && client <= 360 && inner <= 360, JSON.stringify({ scroll, client, inner }));
    const box = await a.hook("send").boundingBox();
    assert.ok(box.x >= 0 && box.x + box.width <= 360 && box.y + box.height <= 640, JSON.stringify(box));
    for (const fact of ["status", "node", "recovered"]) assert.ok(await a.hook(fact).isVisible(), `${fact} is shown`);
    const toggle = a.page.getByRole("button", { name: "Rooms" });
    await toggle.click();
    await a.join("W".repeat(64));
    await toggle.click();
    const leave = await a.page.getByRole("button", { name: "Leave" }).boundingBox();
    assert.ok(leave.x + leave.width <= 300, JSON.stringify(leave));
    await a.page.keyboard.press("Escape");
    assert.equal(await toggle.evaluate((button) => button === document.activeElement), true);
  });

  pages("who reads the newest message stays there, and the page itself does not scroll", async (open) => {
    const a = await open("", { context: PHONE });
    for (let i = 0; i < 20; i++) await a.say(`one of many ${i}`);
    await a.shows("one of many 19");
    await a.say("a draft of several lines ".repeat(12));
    await a.say("the newest");
    await a.shows("the newest");
    await a.shows("a draft of several lines");
    const below = () => a.page.locator(".scroller").evaluate((list) => list.scrollHeight - list.scrollTop - list.clientHeight);
    await until(async () => (await below()) < 2, 2_000, "the list is at its end");
    assert.equal(await a.page.locator(".to-end").count(), 0);
    const [page, screen] = await a.page.evaluate(() => [document.documentElement.scrollHeight, window.innerHeight]);
    assert.ok(page <= screen, `${page} > ${screen}`);
  });

  pages("text can be read in both schemes and at 200 %, and nothing moves for who wants it so", async (open) => {
    const a = await open("", { context: { reducedMotion: "reduce" } });
    const b = await open("", { node: 1 });
    await b.say("read by a");
    await a.say("too long ".repeat(500));
    await a.messages("too long", "refused").waitFor();
    await a.shows("read by a");
    const moving = () => a.page.evaluate(() => document.getAnimations().filter((each) => each.effect.getTiming().duration > 0).length);
    await b.hook("message-input").pressSequentially("moving dots");
    await a.page.locator(".typing-dots").waitFor();
    assert.equal(await moving(), 0);
    await a.hook("toggle-offline").click();
    await a.state("offline");
    await a.say("pending at a");
    await a.messages("pending at a", "pending").getByText("Not sent yet").waitFor();
    for (const colorScheme of ["light", "dark"]) {
      await a.page.emulateMedia({ colorScheme });
      assert.deepEqual(await faintTexts(a.page), [], colorScheme);
    }
    assert.equal(await moving(), 0);
    await a.page.setViewportSize({ width: 640, height: 360 });
    const list = await a.page.locator(".scroller").boundingBox();
    assert.ok(list.height >= 120, JSON.stringify(list));
    for (const name of ["message-input", "send", "toggle-offline"]) {
      const box = await a.hook(name).boundingBox();
      assert.ok(box.x >= 0 && box.y >= 0 && box.x + box.width <= 640 && box.y + box.height <= 360, name + JSON.stringify(box));
    }
  });

  pages("one can chat, join a room and go offline with the keyboard alone", async (open) => {
    const a = await open();
    const focused = () => a.page.evaluate(() => document.activeElement?.closest("[data-testid]")?.getAttribute("data-testid"));
    const tabTo = async (name) => {
      for (let i = 0; i < 60; i++) {
        if ((await focused()) === name) return;
        await a.page.keyboard.press("Tab");
      }
      throw new Error(`60 times Tab do not reach ${name}`);
    };
    await tabTo("message-input");
    await a.page.keyboard.type("typed without a mouse");
    await a.page.keyboard.press("Enter");
    await a.shows("typed without a mouse");
    assert.equal(await focused(), "message-input");
    const outline = await a.hook("message-input").evaluate((field) => getComputedStyle(field).outlineStyle);
    assert.equal(outline, "solid", "the focus is seen");
    await tabTo("room-join-input");
    await a.page.keyboard.type("keyboards");
    await a.page.keyboard.press("Enter");
    await a.hook("room-list").getByText("keyboards").first().waitFor();
    await tabTo("toggle-offline");
    await a.page.keyboard.press("Space");
    await a.state("offline");
    await a.page.keyboard.press("Space");
    await a.state("connected");
  });

  pages("every field has a label and new messages are announced", async (open) => {
    const [a, b] = await Promise.all([open(), open()]);
    const unlabelled = await a.page.evaluate(() =>
      [...document.querySelectorAll("input, textarea, select, button")]
        .filter((field) => !(field.labels?.length || field.getAttribute("aria-label") || field.getAttribute("aria-labelledby") || field.textContent.trim()))
        .map((field) => field.outerHTML),
    );
    assert.deepEqual(unlabelled, []);
    await b.say("to be announced");
    const live = a.page.locator("[aria-live=polite], [role=log], [role=status]").filter({ hasText: "to be announced" });
    await live.first().waitFor({ state: "attached" });
  });
});
