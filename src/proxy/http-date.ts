// The Date field (RFC 9110 §6.6.1) as IMF-fixdate, written once a second.

import type { Clock } from '../lib/clock.ts';

export function createHttpDate(clock: Clock): () => string {
  let second = -1;
  let text = '';
  return () => {
    const now = clock.now();
    const current = Math.floor(now / 1000);
    if (current !== second) {
      second = current;
      text = new Date(now).toUTCString();
    }
    return text;
  };
}
