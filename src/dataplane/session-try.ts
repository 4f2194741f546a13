// One request and the laptop that stands in for what it asks: that is tried first, and what is deployed where it cannot have it.

import type { Tried } from '../proxy/balance.ts';
import type { Retries } from '../proxy/exchange.ts';
import type { PickFacts } from '../proxy/target-group.ts';
import type { TargetState } from '../proxy/target-state.ts';
import type { LiveGroup } from './groups.ts';
import type { LiveSession } from './live-session.ts';

export class SessionTry {
  readonly #key: string | null;
  #group: LiveGroup | null = null;
  #session: LiveSession | null = null;
  /** The latest try is at the laptop. */
  atLaptop = false;

  /** @param key of the session that the request names; null: none. */
  constructor(key: string | null) {
    this.#key = key;
  }

  /** null: what is deployed is next. */
  next(live: LiveGroup, facts: PickFacts, tried: Tried): TargetState | null {
    if (this.#group !== live) {
      this.#group = live;
      this.#session = live.session(this.#key);
    }
    const laptop = this.#session?.pick(facts, tried) ?? null;
    this.atLaptop = laptop !== null;
    return laptop;
  }

  /** null: those of what is deployed. */
  get retries(): Retries | null {
    return this.atLaptop ? (this.#session?.retries ?? null) : null;
  }
}
