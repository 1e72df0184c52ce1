// What a screen reader hears, apart from what is shown: history must not be read out.
import type { Chat } from "../chat";

export function LiveRegions({ chat }: { chat: Chat }) {
  const { lines, statusText, problemText } = chat.announcer;
  return (
    <div class="hidden">
      <div role="log" aria-live="polite" aria-label="New messages" data-testid="announcements">
        {lines.map(({ key, text }) => (
          <p key={key}>{text}</p>
        ))}
      </div>
      <div role="status">{statusText}</div>
      <div role="alert">{problemText}</div>
    </div>
  );
}
