// The page in headless Chromium, per transport: connect, chat, offline and back, recovery; phone; keyboard.
import assert from "node:assert/strict";
import { after, before, describe, it } from "node:test";
import { UNLIMITED } from "../chat/people.mjs";
import { startChat } from "../support/servers.mjs";
import { until } from "../support/wait.mjs";
import { launch, Tab } from "./page.mjs";

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

  /** A test with tabs; what they show is kept as a picture if it fails. */
  const pages = (name, test) =>
    it(name, { timeout: 60_000 }, async (t) => {
      const tabs = [];
      const open = async (path = "", { node = 0, context } = {}) => {
        const tab = new Tab(await browser.newContext(context));
        tabs.push(tab);
        await tab.start(`${chat.urls[node]}/${path}`);
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
      const [a, b] = [await open(query), await open(query, { node: 1 })];
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
      const [a, b] = [await open(query), await open(query, { node: 1 })];
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
    const [a, b] = [await open(), await open()];
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

  pages("an unsent message survives a reload and is sent once", async (open) => {
    const [a, b] = [await open(), await open()];
    await b.hook("toggle-offline").click();
    await b.state("offline");
    await b.say("before the reload");
    await b.messages("before the reload", "pending").waitFor();
    await b.page.reload();
    await b.state("connected");
    for (const tab of [a, b]) await tab.shows("before the reload");
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
    const [a, b] = [await open(), await open()];
    const text = `<img src=x onerror="document.title='owned'"><b>bold</b>`;
    await a.say(text);
    await b.shows(text);
    assert.equal(await b.page.locator("[data-testid=message] img[src=x], [data-testid=message] b").count(), 0);
    assert.notEqual(await b.page.title(), "owned");
  });

  pages("a named room has its own messages, and shows who is there and who types", async (open) => {
    const [a, b, outside] = [await open(), await open("", { node: 1 }), await open()];
    for (const tab of [a, b]) {
      await tab.hook("room-join-input").fill("garden");
      await tab.hook("room-join").click();
      await tab.hook("room-list").getByText("garden").first().waitFor();
    }
    await a.hook("message-input").pressSequentially("in the garden");
    await until(async () => (await b.hook("typing").innerText()).length > 0, 10_000, "b sees that a types");
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
    const [a, b] = [await open(), await open()];
    await a.hook("name-input").fill("Ada Lovelace");
    await a.hook("name-input").press("Enter");
    await a.state("connected");
    await until(async () => (await b.hook("members").innerText()).includes("Ada Lovelace"), 10_000, "b sees the new name");
    await a.say("signed");
    await b.shows("signed");
    assert.ok((await b.messages("signed").innerText()).includes("Ada Lovelace"));
  });

  pages("on a phone nothing scrolls sideways and one can chat", async (open) => {
    const [a, b] = [await open("", { context: PHONE }), await open()];
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
    const [a, b] = [await open(), await open()];
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
