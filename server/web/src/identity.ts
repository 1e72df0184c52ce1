// Who the user is: the name he chose or was given, and the token he came with.

import type { Refusal, Session } from "./protocol";
import {
  NAME_LENGTH,
  REFUSED_NAME,
  REFUSED_TOKEN_EXPIRED,
  REFUSED_TOKEN_INVALID,
  REFUSED_TOKEN_REQUIRED,
} from "./protocol";
import * as settings from "./settings";

export class Identity {
  /** Empty until the server has given one. */
  name = settings.loadName() ?? "";
  nameProblem = "";
  readonly #token = settings.takeToken();
  #isRenamed = false;

  /** The token names its bearer: he cannot choose, and nobody else bears his name by accident. */
  get isNamedByToken(): boolean {
    return this.#token !== undefined;
  }

  auth(): Record<string, string> {
    return { ...(this.name && { name: this.name }), ...(this.#token && { token: this.#token }) };
  }

  /** Returns whether the name is another one now. */
  rename(text: string): boolean {
    const name = settings.validName(text);
    this.nameProblem = name === undefined ? `A name has 1 to ${NAME_LENGTH} characters.` : "";
    if (name === undefined || name === this.name) return false;
    this.name = name;
    this.#isRenamed = true;
    settings.saveChosenName(name);
    return true;
  }

  /** Takes the name that the session bears; false if it is a recovered one under the former name. */
  accept(session: Session): boolean {
    const isFormer = this.#isRenamed && session.recovered && session.name !== this.name;
    this.#isRenamed = false;
    if (isFormer) return false;
    if (session.name !== this.name) {
      this.name = session.name;
      if (!this.isNamedByToken) settings.saveGivenName(session.name);
    }
    return true;
  }

  /** Returns what the user can do about it, if it is about him. */
  onRefused({ code, message }: Refusal): string {
    if (code === REFUSED_NAME) {
      this.nameProblem = message;
      return "Choose another name.";
    }
    if (code === REFUSED_TOKEN_INVALID || code === REFUSED_TOKEN_EXPIRED) settings.forgetToken();
    else if (code !== REFUSED_TOKEN_REQUIRED) return "";
    return "Open this page with a token at the end of its address: #token=…";
  }
}
