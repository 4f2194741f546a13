// A machine that comes with a certificate shows its key to the control plane that it reached, and to no other: when its call is handed on,
// that one says which key it was, and shows by the master key, which all of them have, that it may say so. Whether the machine is a Node is
// judged where the call is answered.

import { createHmac, timingSafeEqual } from 'node:crypto';
import type { IncomingHttpHeaders } from 'node:http';
import type { Clock } from '../../lib/clock.ts';
import type { MachineClaim } from '../handler.ts';

/** Header of a call that is handed on. */
export const VOUCHED = 'x-libra-vouched';

export interface Vouching {
  /** For this one call; good for minutes, so that clocks may differ a little. */
  vouch(claim: MachineClaim, method: string, url: string): string;
  /** What another control plane vouches for; null: for nothing. */
  vouched(headers: IncomingHttpHeaders, method: string, url: string): MachineClaim | null;
}

const GOOD_MS = 300_000;

export function createVouching({ masterKey, clock }: { readonly masterKey: Uint8Array; readonly clock: Clock }): Vouching {
  const key = createHmac('sha256', masterKey).update('libra control planes vouch').digest();
  const proofOf = (claim: string, method: string, url: string): Buffer =>
    createHmac('sha256', key)
      .update(JSON.stringify([claim, method, url]))
      .digest();
  return {
    vouch: ({ nodeId, key: shown }, method, url) => {
      const claim = `${nodeId ?? ''}.${shown}.${clock.now() + GOOD_MS}`;
      return `${claim}.${proofOf(claim, method, url).toString('hex')}`;
    },
    vouched: (headers, method, url) => {
      const { [VOUCHED]: text } = headers;
      const [, claim, nodeId = '', shown = '', untilMs, proof = ''] =
        /^(([0-9a-f-]{0,36})\.([0-9a-f]{64})\.(\d{1,16}))\.([0-9a-f]{64})$/u.exec(typeof text === 'string' ? text : '') ?? [];
      if (claim === undefined || Number(untilMs) < clock.now()) return null;
      if (!timingSafeEqual(Buffer.from(proof, 'hex'), proofOf(claim, method, url))) return null;
      return { nodeId: nodeId === '' ? null : nodeId, key: shown };
    },
  };
}
