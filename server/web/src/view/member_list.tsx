// Who is in the shown room.
import { useEffect, useRef } from "preact/hooks";
import type { Chat } from "../chat";
import { PRESENCE_LIMIT } from "../protocol";
import { Avatar } from "./avatar";

/** A crowd is counted, not listed. */
const LISTED = 100;

export function MemberList({ chat, isOpen }: { chat: Chat; isOpen: boolean }) {
  const heading = useRef<HTMLHeadingElement>(null);
  useEffect(() => {
    if (isOpen) heading.current?.focus();
  }, [isOpen]);
  const { members, total, missingNodes } = chat.room;
  const sorted = [...members.values()].sort(
    (a, b) =>
      Number(b.id === chat.ownId) - Number(a.id === chat.ownId) || a.name.localeCompare(b.name),
  );
  return (
    <section aria-labelledby="people-heading">
      <h2 id="people-heading" ref={heading} tabIndex={-1}>
        People here <span class="count">{total}</span>
      </h2>
      <ul class="member-list" data-testid="members">
        {sorted.slice(0, LISTED).map(({ id, name }) => (
          <li key={id} class="member">
            <Avatar name={name} />
            <span class="member-name">{name}</span>
            {id === chat.ownId && <span class="you">you</span>}
          </li>
        ))}
      </ul>
      {total > LISTED && <p class="hint">and {total - Math.min(sorted.length, LISTED)} more</p>}
      {total >= PRESENCE_LIMIT && (
        <p class="hint">
          In a crowd nobody is told who comes and goes.{" "}
          <button type="button" class="quiet" onClick={() => chat.loadMembers()}>
            Ask again
          </button>
        </p>
      )}
      {missingNodes.length > 0 && (
        <p class="hint">Not heard from {missingNodes.join(", ")}: there may be more.</p>
      )}
    </section>
  );
}
