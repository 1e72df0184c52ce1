// Delays between tries: doubling, bounded, with jitter so that a crowd does not come back at once.

const FIRST_MS = 500;
const LAST_MS = 30_000;

export class Backoff {
  #tries = 0;

  constructor(private readonly random: () => number = Math.random) {}

  next(): number {
    const ceiling = Math.min(FIRST_MS * 2 ** this.#tries, LAST_MS);
    this.#tries += 1;
    return ceiling * (0.5 + this.random() / 2);
  }

  reset(): void {
    this.#tries = 0;
  }
}
