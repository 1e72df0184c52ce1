import assert from "node:assert/strict";
import { test } from "node:test";
import { NotAnswered, Refused } from "../src/connection";
import { Outbox } from "../src/outbox";
import type { Request } from "../src/room_sync";
import { Sender } from "../src/sender";

/** Answers each try with the next of these; a function throws. */
function setUp(answers: (number | (() => never))[]) {
  const outbox = new Outbox({ load: () => [], save: () => {} });
  const sent: string[] = [];
  const stored: [string, number][] = [];
  const refused: string[] = [];
  let isOnline = true;
  let notify = () => {};
  const sender = new Sender({
    outbox,
    request: (async (...args: unknown[]) => {
      sent.push(args.at(-1) as string);
      const answer = answers.shift();
      if (typeof answer === "function") answer();
      return { serverOffset: answer, duplicate: false };
    }) as unknown as Request,
    canSend: () => isOnline,
    onStored: ({ clientOffset }, serverOffset) => stored.push([clientOffset, serverOffset]),
    onRefused: ({ clientOffset }) => refused.push(clientOffset),
    onChange: () => notify(),
  });
  const changes = (count: number) =>
    new Promise<void>((resolve) => {
      let left = count;
      notify = () => {
        left -= 1;
        if (left === 0) resolve();
      };
    });
  return {
    outbox,
    sent,
    stored,
    refused,
    sender,
    changes,
    setOnline: (to: boolean) => (isOnline = to),
  };
}

const unanswered = (): never => {
  throw new NotAnswered("cut");
};
const refuse = (retry: boolean) => (): never => {
  throw new Refused({ code: retry ? 100 : 201, message: "no", retry });
};

test("messages go one after another in the order of writing", async () => {
  const { outbox, sent, stored, sender, changes } = setUp([1, 2]);
  outbox.add(null, "one", "a", 0);
  outbox.add(null, "two", "b", 0);
  const done = changes(2);
  sender.wake();
  sender.wake();
  await done;
  assert.deepEqual(sent, ["a", "b"]);
  assert.deepEqual(stored, [
    ["a", 1],
    ["b", 2],
  ]);
  assert.equal(outbox.entries.length, 0);
});

test("an unanswered message is sent again with the same clientOffset, before later ones", async () => {
  const { outbox, sent, sender, changes } = setUp([unanswered, 1, 2]);
  outbox.add(null, "one", "a", 0);
  outbox.add(null, "two", "b", 0);
  const done = changes(3);
  sender.wake();
  await done;
  assert.deepEqual(sent, ["a", "a", "b"]);
});

test("a passing refusal is retried", async () => {
  const { outbox, sent, refused, sender, changes } = setUp([refuse(true), 1]);
  outbox.add(null, "one", "a", 0);
  const done = changes(2);
  sender.wake();
  await done;
  assert.deepEqual([sent, refused], [["a", "a"], []]);
});

test("a final refusal is shown and the next message goes on", async () => {
  const { outbox, sent, refused, sender, changes } = setUp([refuse(false), 1]);
  outbox.add(null, "bad", "a", 0);
  outbox.add(null, "good", "b", 0);
  const done = changes(2);
  sender.wake();
  await done;
  assert.deepEqual([sent, refused], [["a", "b"], ["a"]]);
  assert.deepEqual(
    outbox.entries.map(({ state }) => state),
    ["refused"],
  );
});

test("nothing is sent offline; coming back sends it", async () => {
  const { outbox, sent, sender, changes, setOnline } = setUp([1]);
  setOnline(false);
  outbox.add(null, "one", "a", 0);
  sender.wake();
  assert.deepEqual(sent, []);
  setOnline(true);
  const done = changes(1);
  sender.wake();
  await done;
  assert.deepEqual(sent, ["a"]);
});
