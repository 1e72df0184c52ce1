// The tutorial's page, as it stands in the tree: opened as a file and from another origin, with the address it names led to our server.
import assert from "node:assert/strict";
import { randomUUID } from "node:crypto";
import { readFileSync } from "node:fs";
import { createServer } from "node:http";
import { after, before, describe, it } from "node:test";
import { pathToFileURL } from "node:url";
import { launch } from "../browser/page.mjs";
import { People, UNLIMITED } from "../chat/people.mjs";
import { startChat } from "../support/servers.mjs";
import { until } from "../support/wait.mjs";
import { example } from "./program.mjs";

const PAGE = example("tutorial/index.html");
const OPTIONS = { timeout: 60_000 };

describe("examples/tutorial", () => {
  let chat;
  let browser;
  let elsewhere;
  let people;
  before(async () => {
    chat = await startChat({ args: ["--config", example("tutorial/cors.yaml")] });
    browser = await launch(`--host-resolver-rules=MAP localhost:3000 127.0.0.1:${chat.port}`);
    elsewhere = createServer((_, answer) => answer.setHeader("content-type", "text/html").end(readFileSync(PAGE)));
    await new Promise((done) => elsewhere.listen(0, "127.0.0.1", () => done(undefined)));
    people = new People();
  }, OPTIONS);
  after(async () => {
    people?.close();
    await browser?.close();
    elsewhere?.close();
    await chat?.stop();
  });

  /** A page that is connected, with what it shows, what it sends by WebSocket, and its errors. */
  async function open(url) {
    const page = await browser.newPage();
    const [errors, sent] = [[], []];
    page.on("pageerror", ({ message }) => errors.push(message));
    page.on("websocket", (socket) => socket.on("framesent", ({ payload }) => sent.push(String(payload))));
    await page.goto(url);
    const list = page.locator("#messages li");
    const shows = (text) => list.filter({ hasText: text }).first().waitFor();
    const say = async (text) => {
      await page.getByLabel("Message").fill(text);
      await page.getByRole("button", { name: "Send" }).click();
    };
    return { page, errors, sent, shows, say, all: () => list.allTextContents() };
  }

  for (const [how, url] of Object.entries({
    "opened as a file": () => pathToFileURL(PAGE).href,
    "from another origin": () => `http://127.0.0.1:${elsewhere.address().port}/`,
  })) {
    it(`${how}: chats with others, and shows what they said while it was away, once each`, OPTIONS, async () => {
      const bob = await people.enter(chat.url, { name: "Bob" });
      const tab = await open(url());
      const name = randomUUID();
      await bob.say(`<b>hello</b> ${name}`);
      await tab.shows(`<b>hello</b> ${name}`);
      await tab.say(`one ${name}`);
      await tab.shows(`one ${name}`);
      await tab.page.getByRole("button", { name: "Disconnect" }).click();
      await bob.say(`missed ${name}`);
      await tab.say(`written meanwhile ${name}`);
      await tab.page.getByRole("button", { name: "Connect", exact: true }).click();
      await tab.shows(`written meanwhile ${name}`);
      const expected = [`<b>hello</b> ${name}`, `one ${name}`, `missed ${name}`, `written meanwhile ${name}`];
      assert.deepEqual((await tab.all()).filter((text) => text.endsWith(name)), expected);
      assert.deepEqual(bob.contents.filter((text) => text.endsWith(name)), expected);
      assert.deepEqual(tab.errors, []);
      await tab.page.close();
    });
  }

  it("sends what the tutorial's page sends: content, its own id, and where it stands on return", OPTIONS, async () => {
    const bob = await people.enter(chat.url, { name: "Bob" });
    const tab = await open(pathToFileURL(PAGE).href);
    await until(() => tab.sent.includes("5"), undefined, "the upgrade to WebSocket");
    await tab.say("typed");
    await until(() => tab.sent.some((frame) => /^42\d+\["chat message","typed","[\w-]{20}-0"\]$/.test(frame)), undefined, () => `the message among ${tab.sent}`);
    await until(() => bob.contents.includes("typed"));
    await tab.shows("typed");
    const { serverOffset } = bob.lobby.at(-1);
    const requests = [];
    tab.page.on("request", (request) => request.method() === "POST" && requests.push(request.postData()));
    await tab.page.getByRole("button", { name: "Disconnect" }).click();
    await tab.page.getByRole("button", { name: "Connect", exact: true }).click();
    await until(() => requests.some((body) => body.includes(`"serverOffset":${serverOffset}`)), undefined, () => `serverOffset ${serverOffset} among ${requests}`);
    await tab.page.close();
  });
});
