// The kinds of messages of a load (load.mjs), and whom each is for.

export const ROOM = "flow";
export const SIDE = "side";
/** @type {Record<string, (member: {inRoom: boolean, inSide: boolean}) => boolean>} */
export const KINDS = {
  wide: () => true,
  room: ({ inRoom }) => inRoom,
  except: ({ inSide }) => !inSide,
  // many are in both
  several: ({ inRoom, inSide }) => inRoom || inSide,
};
/** What people send without a backend. */
export const PEOPLES = ["wide", "room"];
/** How a backend emits those that people cannot say. */
export const EMISSIONS = { except: ["lobby", { except: [SIDE] }], several: [`rooms/${ROOM}`, { rooms: [SIDE] }] };
