import assert from "node:assert/strict";
import { test } from "node:test";
import { openStorage } from "../src/storage";

test("blocked storage is replaced by memory", () => {
  const store = openStorage(() => {
    throw new Error("access is denied");
  });
  store.setItem("name", "Ada");
  assert.deepEqual(
    [store.getItem("name"), store.getItem("rooms"), store.keys()],
    ["Ada", null, ["name"]],
  );
  store.removeItem("name");
  assert.equal(store.getItem("name"), null);
});

test("storage that the browser leaves out is replaced by memory", () => {
  const store = openStorage(() => null as unknown as Storage);
  store.setItem("name", "Ada");
  assert.equal(store.getItem("name"), "Ada");
});

test("full storage loses what is written and nothing else", (t) => {
  const warn = t.mock.method(console, "warn", () => {});
  const full = {
    getItem: () => "before",
    setItem: () => {
      throw new Error("the quota has been exceeded");
    },
  };
  const store = openStorage(() => full as unknown as Storage);
  store.setItem("name", "Ada");
  assert.equal(store.getItem("name"), "before");
  assert.equal(warn.mock.callCount(), 1);
});
