// The platform itself: health, what it is, and its end.

import { endpoint } from '../endpoint.ts';

export const system = {
  health: endpoint({
    method: 'GET',
    path: '/v1/system/health',
    summary: 'Whether the process answers at all.',
    permission: 'public',
    scope: 'none',
    reply: (z) => z.object({ status: z.literal('ok') }),
  }),
  ready: endpoint({
    method: 'GET',
    path: '/v1/system/ready',
    summary: 'Whether the platform can carry out changes; 503 with the missing part where it cannot.',
    permission: 'public',
    scope: 'none',
    reply: (z) => z.object({ status: z.literal('ready') }),
    errors: ['unavailable'],
  }),
  status: endpoint({
    method: 'GET',
    path: '/v1/system/status',
    summary: 'Version, addresses, Nodes, reconcilers and store of the platform.',
    permission: 'platform.read',
    scope: 'platform',
    reply: (z) =>
      z.object({
        version: z.string(),
        startedAtMs: z.number(),
        domain: z.string(),
        addresses: z.record(z.string(), z.string()).describe('role → URL or host:port'),
        counts: z.object({ apps: z.number(), instances: z.number(), nodes: z.number() }),
        edges: z.array(z.object({ id: z.string(), tableSequence: z.number(), current: z.boolean(), lastSeenMs: z.number() })),
        reconcilers: z.array(
          z.object({
            name: z.string(),
            runs: z.number(),
            lastStartedMs: z.number().nullable(),
            lastDurationMs: z.number().nullable(),
            lastError: z.string().nullable(),
          }),
        ),
        controls: z
          .array(z.object({ id: z.string(), name: z.string(), url: z.string().nullable(), version: z.string(), leads: z.boolean() }))
          .describe('The control planes on this store; the one that leads has answered, where one does'),
        store: z.object({ engine: z.string(), revision: z.number() }),
        notices: z.array(z.string()).describe('What somebody has begun and not ended: canaries, pauses, versions kept at hand'),
        /** What is not as it should be, for `libra doctor`. */
        warnings: z.array(z.string()),
      }),
  }),
  shutdown: endpoint({
    method: 'POST',
    path: '/v1/system/shutdown',
    summary: 'Stops this librad and what it started.',
    permission: 'platform.admin',
    scope: 'platform',
    body: (z) => z.object({ keepInstances: z.boolean().default(false) }),
    status: 202,
    reply: (z) => z.object({ stopping: z.literal(true) }),
  }),
  whoami: endpoint({
    method: 'GET',
    path: '/v1/system/whoami',
    summary: 'The principal that this credential stands for.',
    permission: 'platform.read',
    scope: 'platform',
    reply: (z) => z.object({ kind: z.string(), name: z.string(), permissions: z.array(z.string()) }),
  }),
};
