// DevSessions: a developer's laptop stands in for an Entrypoint.

import { endpoint } from '../endpoint.ts';
import type { Z } from '../endpoint.ts';
import { nameShape } from '../shapes.ts';

const sessionShape = (z: Z) =>
  z.object({
    id: z.string(),
    app: z.string(),
    environment: z.string(),
    entrypoint: z.string(),
    /** personal: only requests that name its key. replace: whatever comes for the Entrypoint. */
    mode: z.enum(['personal', 'replace']),
    key: z.string(),
    owner: z.string(),
    /** Whose machine it is, as that says itself. */
    from: z.string(),
    /** The laptop is connected to an Edge. */
    connected: z.boolean(),
    /** Where its requests come in, without any header. */
    url: z.string(),
    createdAtMs: z.number(),
    expiresAtMs: z.number(),
  });

export const sessions = {
  list: endpoint({
    method: 'GET',
    path: '/v1/apps/{app}/environments/{environment}/sessions',
    summary: 'Laptops that stand in for Entrypoints of an Environment.',
    permission: 'apps.read',
    scope: 'environment',
    reply: (z) => z.object({ items: z.array(sessionShape(z)) }),
    errors: ['not_found'],
  }),
  create: endpoint({
    method: 'POST',
    path: '/v1/apps/{app}/environments/{environment}/sessions',
    summary:
      'Begins a session for a laptop, which connects to `gateway` with the credential. One of the same owner and machine that is not connected makes way.',
    permission: 'dev.sessions',
    scope: 'environment',
    body: (z) =>
      z.object({
        entrypoint: nameShape(z),
        mode: z.enum(['personal', 'replace']).default('personal'),
        key: nameShape(z).describe(
          'names the session in the header X-Libra-Session, the cookie and the baggage libra-session, and its host',
        ),
        from: z.string().min(1).max(100).describe('whose machine it is, for others to read'),
        paths: z
          .array(
            z
              .string()
              .max(200)
              .regex(/^\/[\u0021-\u007E]*$/u, 'must be a path such as /api'),
          )
          .min(1)
          .max(20)
          .default(['/'])
          .describe('path prefixes that lead to it while nothing is deployed there'),
        uses: z
          .array(
            z.string().regex(/^[a-z0-9-]{1,30}(?:\/[a-z0-9-]{1,30})?\.[a-z0-9-]{1,30}$/u, 'must be a Service such as billing.invoices'),
          )
          .max(100)
          .default([])
          .describe('Services that its program may call, as `uses` of the manifest'),
        ttlMs: z.number().int().min(60_000).max(86_400_000).default(43_200_000).describe('it ends after that at the latest'),
      }),
    reply: (z) =>
      sessionShape(z).extend({
        credential: z.string(),
        gateway: z.string().describe('URL; the laptop asks there for an upgrade to libra-dev'),
      }),
    status: 201,
    errors: ['not_found', 'conflict', 'plan_refused', 'exists'],
    tellsSecret: true,
  }),
  delete: endpoint({
    method: 'DELETE',
    path: '/v1/apps/{app}/environments/{environment}/sessions/{session}',
    summary: 'Ends a session: its laptop is cut off, and requests go to what is deployed again.',
    permission: 'dev.sessions',
    scope: 'environment',
    status: 204,
    errors: ['not_found'],
  }),
  values: endpoint({
    method: 'POST',
    path: '/v1/apps/{app}/environments/{environment}/sessions/{session}/values',
    summary: 'Plain values of the Environment for the program on the laptop: all that are set, and the named Secrets.',
    permission: 'dev.values',
    scope: 'environment',
    body: (z) => z.object({ secrets: z.array(z.string().max(63)).max(200).default([]) }),
    reply: (z) =>
      z.object({
        env: z.record(z.string(), z.string()),
        /** Those that are not set are left out. */
        secrets: z.record(z.string(), z.string()),
      }),
    errors: ['not_found', 'plan_refused'],
    tellsSecret: true,
  }),
};
