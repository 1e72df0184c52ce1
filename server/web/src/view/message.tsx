// One message. All of it is text: nothing that a person wrote becomes markup.
import { Component } from "preact";
import type { MessageRow } from "../rows";
import { Avatar, hueOf } from "./avatar";
import { clockWords } from "./times";

interface Props {
  row: MessageRow;
  onEdit(clientOffset: string): void;
  onDiscard(clientOffset: string): void;
}

/** A class for the sake of `shouldComponentUpdate`: a long list redraws only what changed. */
export class Message extends Component<Props> {
  override shouldComponentUpdate({ row }: Props): boolean {
    const { row: shown } = this.props;
    return (
      row.state !== shown.state ||
      row.serverOffset !== shown.serverOffset ||
      row.startsGroup !== shown.startsGroup ||
      row.isOwn !== shown.isOwn ||
      row.author !== shown.author ||
      row.at !== shown.at
    );
  }

  override render() {
    const { row } = this.props;
    return (
      <li
        class={`message ${row.isOwn ? "own" : "other"} ${row.startsGroup ? "starts" : "continues"}`}
        data-testid="message"
        data-state={row.state}
        data-offset={row.serverOffset}
      >
        {row.startsGroup && !row.isOwn && <Avatar name={row.author} />}
        <div class="message-body">
          <p class={row.startsGroup ? "message-head" : "hidden"}>
            <span class={`message-author text-hue-${hueOf(row.author)}`}>
              {row.isOwn ? "You" : row.author}
            </span>{" "}
            <Time at={row.at} />
          </p>
          <p class="message-text" dir="auto">
            {row.content}
          </p>
          {row.state !== "sent" && <Fate {...this.props} />}
        </div>
      </li>
    );
  }
}

function Time({ at }: { at: number }) {
  const date = new Date(at);
  return (
    <time dateTime={date.toISOString()} title={date.toLocaleString()}>
      {clockWords(at)}
    </time>
  );
}

/** What becomes of a message that is not stored: waiting, or refused with a reason. */
function Fate({ row, onEdit, onDiscard }: Props) {
  const { clientOffset, refusal } = row;
  if (row.state === "pending" || clientOffset === undefined) {
    return <p class="fate">Not sent yet</p>;
  }
  return (
    <div class="fate refused">
      <p>Not accepted: {refusal?.message ?? "no reason was given"}</p>
      <button type="button" class="quiet" onClick={() => onEdit(clientOffset)}>
        Edit
      </button>
      <button type="button" class="quiet" onClick={() => onDiscard(clientOffset)}>
        Discard
      </button>
    </div>
  );
}
