// Requests through the Edges, as they end.

import { endpoint } from '../endpoint.ts';
import type { ReplyOf } from '../endpoint.ts';
import { nameShape } from '../shapes.ts';

export const requests = {
  watch: endpoint({
    method: 'GET',
    path: '/v1/requests',
    kind: 'sse',
    summary: 'The last requests through the Edges, and with `follow` those to come. Query strings are never in it.',
    permission: 'logs.read',
    scope: 'platform',
    query: (z) =>
      z.object({
        app: nameShape(z).optional(),
        environment: nameShape(z).optional(),
        route: z.string().max(1_000).optional().describe('Host and path of the Route'),
        status: z
          .string()
          .regex(/^[1-5](?:\d\d|xx)$/u)
          .optional()
          .describe('A status, or a class such as 5xx'),
        method: z.string().max(40).optional(),
        path: z.string().max(1_000).optional().describe('What the path begins with'),
        slowerThanMs: z.coerce.number().min(0).max(86_400_000).optional(),
        tail: z.coerce.number().int().min(0).max(256).default(50).describe('How many of the past, of each Edge'),
        follow: z.stringbool().default(false),
      }),
    reply: (z) =>
      z.object({
        at: z.string(),
        id: z.string(),
        client: z.string(),
        method: z.string(),
        host: z.string(),
        path: z.string(),
        protocol: z.string(),
        tls: z.string().nullable(),
        status: z.number().int().nullable(),
        result: z.string(),
        reason: z.string().optional(),
        route: z.string().optional(),
        app: z.string().optional(),
        environment: z.string().optional(),
        entrypoint: z.string().optional(),
        deployment: z.string().optional().describe('Number of the Deployment that answered'),
        instance: z.string().nullable(),
        attempts: z.number().int(),
        waitMs: z.number(),
        connectMs: z.number().nullable(),
        firstByteMs: z.number().nullable(),
        durationMs: z.number(),
        bytesIn: z.number().int(),
        bytesOut: z.number().int(),
        trace: z.string(),
        span: z.string(),
        dropped: z.number().int().describe('Requests before this one that could not be told in time'),
      }),
  }),
};
export type RequestView = ReplyOf<typeof requests.watch>;
