// What the cases said, for people and for docs/e2e.md.

export class Table {
  /** @type {{name: string, outcome: string, seconds: number, figures: Record<string, unknown>}[]} */
  rows = [];
  /** @param {{name: string, nesting: number, details: {duration_ms: number, type?: string}}} event @param {string} outcome */
  add({ name, details }, outcome) {
    // a file is reported as a test of its own when something outside of its cases failed
    this.rows.push({ name, outcome, seconds: details.duration_ms / 1000, figures: {} });
  }

  /** What a case says is told after its end. @param {{message: string}} event */
  note({ message }) {
    const figures = /^figures (\{.*\})$/.exec(message)?.[1];
    if (figures) Object.assign(this.rows.at(-1)?.figures ?? {}, JSON.parse(figures));
  }

  get isGreen() {
    return this.rows.length > 0 && this.rows.every(({ outcome }) => outcome === "passed");
  }

  text() {
    return this.rows
      .map(({ name, outcome, seconds, figures }) => {
        const said = Object.entries(figures).map(([key, value]) => `${key}: ${Array.isArray(value) ? value.join("/") : value}`);
        return `${outcome} ${seconds.toFixed(1).padStart(6)} s  ${name}${said.length > 0 ? `\n                 ${said.join(", ")}` : ""}`;
      })
      .join("\n");
  }
}
