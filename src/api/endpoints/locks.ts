// librad.locks: leases with fences in the Environment that calls. Leader election is a lock whose value says who leads.

import { endpoint, page, pageQuery } from '../endpoint.ts';
import type { Z } from '../endpoint.ts';
import { prefixShape } from './kv.ts';

const LOCK_PATH = '/v1/librad/locks/names/{lock}';

/** Made by whoever wants to hold: it repeats its call under the same one, and nobody else knows it. */
const leaseShape = (z: Z) => z.string().regex(/^[A-Za-z0-9._~:@-]{16,100}$/u, 'must be 16 to 100 letters, digits and . _ ~ : @ -');
const ttlShape = (z: Z) => z.number().int().min(1000).max(300_000);
const valueShape = (z: Z) => z.string().max(1024);

const holderShape = (z: Z) =>
  z.object({
    instance: z.string(),
    entrypoint: z.string(),
    /** Greater than of whoever held a lock of the Environment before: what is written under a lower one came too late. */
    fence: z.number(),
    /** What the holder wants others to know. */
    value: z.string(),
    sinceMs: z.number(),
  });
const lockShape = (z: Z) => z.object({ name: z.string(), holder: holderShape(z).nullable() });
const heldShape = (z: Z) => z.object({ name: z.string(), fence: z.number(), ttlMs: z.number(), value: z.string() });

export const locks = {
  list: endpoint({
    method: 'GET',
    path: '/v1/librad/locks/names',
    summary: 'Locks of the own Environment that somebody holds.',
    permission: 'librad.locks',
    scope: 'none',
    query: (z) => pageQuery(z).extend({ prefix: prefixShape(z).default('') }),
    reply: (z) => page(z, lockShape(z)),
    errors: ['unavailable'],
  }),
  get: endpoint({
    method: 'GET',
    path: LOCK_PATH,
    summary: 'Who holds a lock. Linearizable.',
    permission: 'librad.locks',
    scope: 'none',
    reply: (z) => lockShape(z),
    errors: ['unavailable'],
  }),
  acquire: endpoint({
    method: 'POST',
    path: `${LOCK_PATH}/acquire`,
    summary: 'Takes a lock, after waiting in turn where it is held. Whoever holds it under this lease already, holds it anew.',
    permission: 'librad.locks',
    scope: 'none',
    body: (z) =>
      z.object({
        lease: leaseShape(z),
        /** It ends so long after the last renewal. */
        ttlMs: ttlShape(z).default(15_000),
        waitMs: z.number().int().min(0).max(60_000).default(0),
        value: valueShape(z).default(''),
      }),
    reply: (z) =>
      heldShape(z).extend({
        /** The time of the lease began at least so long after the call was sent. */
        waitedMs: z.number(),
      }),
    errors: ['conflict', 'unavailable'],
  }),
  renew: endpoint({
    method: 'POST',
    path: `${LOCK_PATH}/renew`,
    summary: 'Begins the time of a lease anew; may change its value.',
    permission: 'librad.locks',
    scope: 'none',
    body: (z) => z.object({ lease: leaseShape(z), ttlMs: ttlShape(z).optional(), value: valueShape(z).optional() }),
    reply: (z) => heldShape(z),
    errors: ['precondition_failed', 'conflict', 'unavailable'],
  }),
  release: endpoint({
    method: 'POST',
    path: `${LOCK_PATH}/release`,
    summary: 'Gives a lock back. Says whether it was held under this lease.',
    permission: 'librad.locks',
    scope: 'none',
    body: (z) => z.object({ lease: leaseShape(z) }),
    reply: (z) => z.object({ released: z.boolean() }),
    errors: ['conflict', 'unavailable'],
  }),
  watch: endpoint({
    method: 'GET',
    path: `${LOCK_PATH}/watch`,
    kind: 'sse',
    summary: 'Who holds a lock, now and whenever that or the value changes; who held it only for a moment in between may be passed over.',
    permission: 'librad.locks',
    scope: 'none',
    reply: (z) => lockShape(z),
    errors: ['unavailable'],
  }),
};
