// Socket.IO packets as text: `<type>[<attachments>-][/nsp,][<ackId>]<json>`, with Engine.IO's `4` in front.

/** Socket.IO packet types. */
export const TYPE = { connect: 0, disconnect: 1, event: 2, ack: 3, connectError: 4, binaryEvent: 5, binaryAck: 6 };

/** @typedef {{type: number, attachments: number, nsp: string, id: number | undefined, data: any, text: string}} Packet */

/**
 * Reads an Engine.IO message (`4…`) as a Socket.IO packet.
 * @param {string | Buffer} message @returns {Packet}
 */
export function parsePacket(message) {
  const match = typeof message === "string" ? /^4([0-6])(?:(\d+)-)?(?:(\/[^,]*),?)?(\d+)?(.*)$/s.exec(message) : null;
  if (!match) throw new Error(`not a Socket.IO packet: ${message.toString()}`);
  const [, type, attachments, nsp, id, json] = match;
  return {
    type: Number(type),
    attachments: Number(attachments ?? 0),
    nsp: nsp ?? "/",
    id: id === undefined ? undefined : Number(id),
    data: json === "" ? undefined : JSON.parse(json),
    text: String(message),
  };
}

/** @param {string} nsp */
const prefix = (nsp) => (nsp === "/" ? "" : `${nsp},`);

/** @param {object} [auth] @param {string} [nsp] */
export const connectPacket = (auth, nsp = "/") => `40${prefix(nsp)}${auth === undefined ? "" : JSON.stringify(auth)}`;

/** @param {any[]} args event name first @param {{nsp?: string, id?: number}} [options] */
export const eventPacket = (args, { nsp = "/", id } = {}) => `42${prefix(nsp)}${id ?? ""}${JSON.stringify(args)}`;
