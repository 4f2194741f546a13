// A machine that comes with a certificate is known to the control plane that it reached, and to no other: when its call is handed on, that
// one says whose it is. It shows by the master key, which all of them have, that it may say so.

import { createHmac, timingSafeEqual } from 'node:crypto';
import type { IncomingHttpHeaders } from 'node:http';
import type { Clock } from '../../lib/clock.ts';

/** Header of a call that is handed on. */
export const VOUCHED = 'x-libra-vouched';

export interface Machine {
  readonly kind: 'node' | 'edge';
  readonly nodeId: string;
}

export interface Vouching {
  /** For this one call; good for minutes, so that clocks may differ a little. */
  vouch(machine: Machine, method: string, url: string): string;
  /** Whom another control plane vouches for; null: for nobody. */
  vouched(headers: IncomingHttpHeaders, method: string, url: string): Machine | null;
}

const GOOD_MS = 300_000;

export function createVouching({ masterKey, clock }: { readonly masterKey: Uint8Array; readonly clock: Clock }): Vouching {
  const key = createHmac('sha256', masterKey).update('libra control planes vouch').digest();
  const proofOf = (claim: string, method: string, url: string): Buffer =>
    createHmac('sha256', key)
      .update(JSON.stringify([claim, method, url]))
      .digest();
  return {
    vouch: ({ kind, nodeId }, method, url) => {
      const claim = `${kind}.${nodeId}.${clock.now() + GOOD_MS}`;
      return `${claim}.${proofOf(claim, method, url).toString('hex')}`;
    },
    vouched: (headers, method, url) => {
      const { [VOUCHED]: text } = headers;
      const [, claim = '', kind, nodeId = '', untilMs, proof = ''] =
        /^((node|edge)\.([0-9a-f-]{36})\.(\d{1,16}))\.([0-9a-f]{64})$/u.exec(typeof text === 'string' ? text : '') ?? [];
      if (kind !== 'node' && kind !== 'edge') return null;
      if (Number(untilMs) < clock.now() || !timingSafeEqual(Buffer.from(proof, 'hex'), proofOf(claim, method, url))) return null;
      return { kind, nodeId };
    },
  };
}
