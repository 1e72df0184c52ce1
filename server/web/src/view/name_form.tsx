// The user's own name. A token's bearer sees it but cannot change it.
import { useEffect, useRef, useState } from "preact/hooks";
import type { Chat } from "../chat";
import { NAME_LENGTH } from "../protocol";

export function NameForm({ chat }: { chat: Chat }) {
  const { name, nameProblem, isNamedByToken } = chat.identity;
  const [text, setText] = useState(name);
  const field = useRef<HTMLInputElement>(null);
  useEffect(() => {
    // Who is at the field writes on, though the server gives a name meanwhile.
    if (document.activeElement !== field.current) setText(name);
  }, [name]);
  const save = () => chat.rename(text);
  return (
    <form
      class="name-form"
      onSubmit={(event) => {
        event.preventDefault();
        save();
      }}
    >
      <label for="name">Your name</label>
      <div class="field-row">
        <input
          id="name"
          ref={field}
          data-testid="name-input"
          autocomplete="nickname"
          maxLength={NAME_LENGTH}
          value={text}
          readOnly={isNamedByToken}
          aria-invalid={nameProblem !== ""}
          aria-describedby="name-problem"
          onInput={(event) => setText(event.currentTarget.value)}
          onBlur={() => (text.trim() ? save() : setText(name))}
        />
        {!isNamedByToken && (
          <button type="submit" disabled={text.trim() === name}>
            Save
          </button>
        )}
        <p id="name-problem" class="field-problem" aria-live="polite">
          {nameProblem}
        </p>
      </div>
    </form>
  );
}
