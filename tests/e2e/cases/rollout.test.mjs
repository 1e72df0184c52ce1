// A new image under load: the case that the operator exists for.
import assert from "node:assert/strict";
import { assertWell } from "../../compat/nats/verdict.mjs";
import { condition, NEXT_IMAGE, untruths } from "../support/chat-cluster.mjs";
import { assertPace, underLoad } from "../support/load.mjs";
import { scenario } from "../support/scenario.mjs";
import { PACE, serve } from "../support/serve.mjs";

/** Seconds within which three pods are exchanged. */
const DONE = 120;
/** Nobody is away for longer, of a hundred clients 99. */
const AWAY = 5_000;

scenario("a new image for three pods: each client reconnects once at most, at the pace, and misses nothing", 240, async (t, open) => {
  const { cluster, plane, backends } = await serve(open, "rollout");
  const seen = await underLoad(t, { plane, backends }, async () => {
    await cluster.change({ image: NEXT_IMAGE });
    const { status } = await cluster.is("Ready", "True", undefined, DONE * 1_000);
    assert.equal(status.image, `${NEXT_IMAGE.repository}:${NEXT_IMAGE.tag}`);
  });
  for (const { metadata, spec } of await cluster.pods()) assert.match(spec.containers[0].image, /:2$/, metadata.name);
  assertWell(seen);
  assert.ok(seen.histogram.length <= 2, `each client reconnects once at most: ${seen.histogram}`);
  assertPace(seen, PACE);
  assert.ok(seen.figures["away ms p99"] <= AWAY, `away: ${seen.figures["away ms p99"]} ms`);
  assert.deepEqual(untruths(cluster), []);
});

scenario("an image that is not there: the old pods serve on, the status names it, and the way back moves nobody", 240, async (t, open) => {
  const { cluster, plane, backends } = await serve(open, "bad-image");
  const image = cluster.spec.image;
  const seen = await underLoad(t, { plane, backends }, async () => {
    await cluster.change({ image: { ...image, tag: "absent" } });
    const { status } = await cluster.is("Degraded", "True", "PodFailing", 90_000);
    assert.match(condition({ status }, "Degraded").message, /:absent/, "the message names the image");
    assert.equal(status.readyReplicas, 3, "the old ones are ready");
    await cluster.is("Progressing", "True", "PodNotReady");
    await cluster.change({ image });
    await cluster.is("Ready", "True", undefined, 90_000);
  });
  assertWell(seen);
  assert.equal(seen.returns, 0, "nobody was moved");
  assert.deepEqual(untruths(cluster), []);
});
