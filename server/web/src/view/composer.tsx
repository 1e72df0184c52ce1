// Writing a message: Enter sends, Shift+Enter breaks the line.
import { useEffect, useLayoutEffect, useRef, useState } from "preact/hooks";
import type { Chat } from "../chat";

const TYPING_REDRAW_MS = 1_000;

export function Composer({ chat }: { chat: Chat }) {
  const { room } = chat;
  const [text, setText] = useState(room.draft);
  const field = useRef<HTMLTextAreaElement>(null);
  useDraftTakenBack(chat, field, setText);
  useAutosize(field, text);

  const write = (value: string) => {
    room.draft = value;
    setText(value);
  };
  const submit = () => {
    const content = text.trim();
    if (content && chat.send(content)) write("");
    field.current?.focus();
  };
  const onKeyDown = (event: KeyboardEvent) => {
    if (event.key !== "Enter" || event.shiftKey || event.isComposing) return;
    event.preventDefault();
    submit();
  };
  return (
    <form
      class="composer"
      onSubmit={(event) => {
        event.preventDefault();
        submit();
      }}
    >
      <Typists chat={chat} />
      <label class="hidden" for="message-input">
        Message to {room.title}
      </label>
      <textarea
        id="message-input"
        data-testid="message-input"
        ref={field}
        rows={1}
        placeholder={`Message to ${room.title}`}
        autocomplete="off"
        enterkeyhint="send"
        value={text}
        onInput={(event) => {
          write(event.currentTarget.value);
          if (event.currentTarget.value) chat.noteTyping();
        }}
        onKeyDown={onKeyDown}
      />
      <button type="submit" data-testid="send" disabled={!text.trim()}>
        Send
      </button>
    </form>
  );
}

/** A refused message that is edited comes back into the field. */
function useDraftTakenBack(
  chat: Chat,
  field: { current: HTMLTextAreaElement | null },
  setText: (text: string) => void,
): void {
  useEffect(() => {
    chat.onDraft = () => {
      setText(chat.room.draft);
      field.current?.focus();
    };
    return () => {
      chat.onDraft = () => {};
    };
  }, [chat, field, setText]);
}

function useAutosize(field: { current: HTMLTextAreaElement | null }, text: string): void {
  useLayoutEffect(() => {
    const element = field.current;
    if (!element) return;
    element.style.height = "auto";
    // An empty field keeps its one row, however long the placeholder is.
    if (text) element.style.height = `${element.scrollHeight + 2}px`;
  }, [field, text]);
}

function Typists({ chat }: { chat: Chat }) {
  const [now, setNow] = useState(Date.now);
  const names = chat.room.typists(Math.max(now, Date.now()));
  const isSomeone = names.length > 0;
  useEffect(() => {
    if (!isSomeone) return;
    const timer = setInterval(() => setNow(Date.now()), TYPING_REDRAW_MS);
    return () => clearInterval(timer);
  }, [isSomeone]);
  return (
    <p class="typing" data-testid="typing">
      {isSomeone && (
        <>
          <TypingWords names={names} />
          <span class="typing-dots" aria-hidden="true">
            <i />
            <i />
            <i />
          </span>
        </>
      )}
    </p>
  );
}

/** Each name is isolated: one that is written from right to left must not turn the words around. */
function TypingWords({ names: [first, second, ...others] }: { names: string[] }) {
  if (second === undefined) {
    return (
      <span>
        <bdi>{first}</bdi> is typing
      </span>
    );
  }
  return (
    <span>
      <bdi>{first}</bdi>
      {others.length === 0 ? " and " : ", "}
      <bdi>{second}</bdi>
      {others.length === 0 ? " are typing" : " and others are typing"}
    </span>
  );
}
