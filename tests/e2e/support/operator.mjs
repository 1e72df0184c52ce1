// The operator as its metrics and its lease show it.
import { kubectl, list } from "./kubectl.mjs";

export const SYSTEM = "chatcluster-system";
export const OPERATOR = "deployment/chatcluster-operator";

/** The pod that holds the lease. */
export async function acting() {
  const [lease] = await list(SYSTEM, "leases");
  return (await list(SYSTEM, "pods")).find(({ metadata }) => metadata.name === lease?.spec.holderIdentity);
}

/** The sum of the lines of a metric of the one that acts. @param {RegExp} name @param {number} [absent] what is said if there is no such line */
export async function metrics(name, absent) {
  const pod = await acting();
  if (!pod) throw new Error("no operator acts");
  const text = await kubectl(["get", "--raw", `/api/v1/namespaces/${SYSTEM}/pods/${pod.metadata.name}:8080/proxy/metrics`]);
  const lines = text.split("\n").filter((line) => name.test(line));
  if (lines.length === 0 && absent === undefined) throw new Error(`no metric like ${name}`);
  return lines.reduce((sum, line) => sum + Number(line.slice(line.lastIndexOf(" ") + 1)), 0);
}
