// Host names and their certificates.

import { endpoint } from '../endpoint.ts';

export const domains = {
  list: endpoint({
    method: 'GET',
    path: '/v1/domains',
    summary: 'Every routed host, who issued its certificate, and how its order stands.',
    permission: 'apps.read',
    scope: 'platform',
    reply: (z) =>
      z.object({
        items: z.array(
          z.object({
            host: z.string(),
            /** Whose certificate is in force. */
            issuer: z.enum(['acme', 'local']),
            /** local: nothing is ordered for it; waiting: soon; failed: see the reason, it is tried again. */
            state: z.enum(['local', 'waiting', 'ordering', 'issued', 'failed']),
            reason: z.string().nullable(),
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
