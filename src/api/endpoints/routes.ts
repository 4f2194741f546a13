// Routes of the whole platform.

import { endpoint } from '../endpoint.ts';
import type { ReplyOf } from '../endpoint.ts';
import { routeShape } from '../shapes.ts';

export const routes = {
  list: endpoint({
    method: 'GET',
    path: '/v1/routes',
    summary: 'Every Route in force.',
    permission: 'apps.read',
    scope: 'platform',
    reply: (z) => z.object({ items: z.array(routeShape(z)) }),
  }),
  explain: endpoint({
    method: 'POST',
    path: '/v1/routes/explain',
    summary: 'What the Edges would do with a request, and why. Nothing is sent.',
    permission: 'apps.read',
    scope: 'platform',
    body: (z) =>
      z.object({
        method: z.string().min(1).max(32),
        target: z.string().min(1).max(16_384).describe('Path with query, as in a request line'),
        host: z.string().max(1_000).describe('The Host field'),
        headers: z
          .array(z.tuple([z.string().max(200), z.string().max(8_192)]))
          .max(128)
          .default([]),
        address: z.string().max(100).default('127.0.0.1').describe('Of the client'),
      }),
    reply: (z) =>
      z.object({
        outcome: z.enum(['found', 'ambiguous', 'no_path', 'no_host', 'bad_request']),
        why: z.string().nullable(),
        host: z.string().nullable().describe('Canonical'),
        path: z.string().nullable().describe('Canonical'),
        route: routeShape(z).nullable(),
        others: z.array(z.object({ route: routeShape(z), miss: z.string().describe('What it asks that the request does not have') })),
      }),
  }),
};
export type RouteView = ReplyOf<typeof routes.list>['items'][number];
