// Host names and their certificates.

import { endpoint } from '../endpoint.ts';

export const domains = {
  check: endpoint({
    method: 'POST',
    path: '/v1/domains/check',
    summary: 'Order the certificate of a host whose last order failed now, not at the next try.',
    permission: 'deployments.create',
    scope: 'platform',
    body: (z) => z.object({ host: z.string().min(1).max(255) }),
    /** `ordered` false: it is in force, or being ordered. */
    reply: (z) => z.object({ host: z.string(), ordered: z.boolean() }),
  }),
  list: endpoint({
    method: 'GET',
    path: '/v1/domains',
    summary: 'Every host that Routes name or let in on demand, who issued its certificate, and how its order stands.',
    permission: 'apps.read',
    scope: 'platform',
    reply: (z) =>
      z.object({
        items: z.array(
          z.object({
            host: z.string(),
            /** Whose certificate is in force. */
            issuer: z.enum(['acme', 'local']),
            /** local: nothing is ordered for it; waiting: soon, or when DNS has an address for it; failed: see the reason, it is tried again. */
            state: z.enum(['local', 'waiting', 'ordering', 'issued', 'failed']),
            reason: z.string().nullable(),
            /** No Route names it: it was ordered when its first visitor came. */
            onDemand: z.boolean(),
            /** Where DNS led when it was last to be ordered; null: that is not known. */
            addresses: z.array(z.string()).nullable(),
            untilMs: z.number().nullable(),
            /** The next order: a try, or the renewal. */
            orderAtMs: z.number().nullable(),
          }),
        ),
      }),
  }),
  authority: endpoint({
    method: 'GET',
    path: '/v1/domains/authority',
    summary: "Certificate of the platform's own authority, as PEM.",
    permission: 'apps.read',
    scope: 'platform',
    reply: (z) => z.object({ certificate: z.string() }),
  }),
};
