// Hosts, each for as long as some key stands for it.

export class CountedHosts {
  readonly #ofKey = new Map<string, string>();
  readonly #counts = new Map<string, number>();

  put(key: string, host: string): void {
    this.remove(key);
    this.#ofKey.set(key, host);
    this.#counts.set(host, (this.#counts.get(host) ?? 0) + 1);
  }

  /** The host that it stood for. */
  remove(key: string): string | null {
    const host = this.#ofKey.get(key);
    if (host === undefined) return null;
    this.#ofKey.delete(key);
    const left = (this.#counts.get(host) ?? 1) - 1;
    if (left > 0) this.#counts.set(host, left);
    else this.#counts.delete(host);
    return host;
  }

  has(host: string): boolean {
    return this.#counts.has(host);
  }

  hosts(): readonly string[] {
    return [...this.#counts.keys()];
  }
}
