// Networks in which nobody is but the machines of the platform, as their operator says.

import { Failure } from '../lib/failure.ts';
import { createTrusted } from '../proxy/client-address.ts';
import type { Trusted } from '../proxy/client-address.ts';

/** Throws `invalid_input` naming a range that is none, or that every machine has for itself. */
export function trustedNetwork(ranges: readonly string[]): Trusted {
  for (const range of ranges) {
    const one = createTrusted([range]);
    if (!range.startsWith('127.') && !one.has('127.0.0.1') && !one.has('::1')) continue;
    throw new Failure('invalid_input', {
      message: `${JSON.stringify(range)} cannot be a trusted network: every machine has a loopback of its own.`,
      hint: 'Name with --trusted-network the range that your machines have their addresses in, such as 10.0.0.0/24.',
    });
  }
  return createTrusted(ranges);
}
