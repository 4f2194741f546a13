// The ways from a machine to the control planes of its platform: any of them will do, one is used until it fails. When it does, all that
// is under way on it ends at once and begins anew on the next, instead of each waiting for its own deadline.

import type { HttpFetch } from '../sys/http-fetch.ts';

export interface ControlWays {
  /** `https://host:port`, the one in use. */
  current(): string;
  all(): readonly string[];
  /** Aborts when the one in use is given up. Never where there is no other. */
  leaving(): AbortSignal;
  /** This one did not answer. Says whether another one is in use now. */
  failed(url: string): boolean;
  /** Those that there are now; the one in use stays if it is among them. @returns whether they are others than before */
  learn(urls: readonly string[]): boolean;
}

/** More are as good as none that is needed. */
const MOST = 16;

/** @param urls at least one */
export function createControlWays(urls: readonly [string, ...string[]]): ControlWays {
  let known: readonly string[] = [...new Set(urls)].slice(0, MOST);
  let current = urls[0];
  let inUse = new AbortController();

  const use = (url: string): void => {
    current = url;
    const before = inUse;
    inUse = new AbortController();
    before.abort(new Error('another control plane is asked'));
  };

  return {
    current: () => current,
    all: () => known,
    leaving: () => inUse.signal,
    failed: (url) => {
      // Several notice at once; the first one has moved all of them.
      if (url !== current || known.length < 2) return false;
      const next = known[(known.indexOf(url) + 1) % known.length];
      if (next === undefined || next === current) return false;
      use(next);
      return true;
    },
    learn: (next) => {
      const found = [...new Set(next)].slice(0, MOST);
      const [first] = found;
      if (first === undefined) return false;
      const isOther = found.length !== known.length || found.some((url) => !known.includes(url));
      // The order says nothing: each control plane names itself first.
      if (!isOther) return false;
      known = found;
      if (!found.includes(current)) use(first);
      return true;
    },
  };
}

/** Whatever address a request names, it goes to the control plane in use. One that does not answer is given up for the next. */
export function fetchOverWays(ways: ControlWays, fetch: HttpFetch): HttpFetch {
  return async (url, request) => {
    const [at, leaving] = [ways.current(), ways.leaving()];
    const { pathname, search } = new URL(url);
    try {
      return await fetch(at + pathname + search, { ...request, signal: AbortSignal.any([request.signal, leaving]) });
    } catch (error) {
      ways.failed(at);
      throw error;
    }
  };
}
