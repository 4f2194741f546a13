// Runtimes and Nodes.

import { endpoint, page, pageQuery } from '../endpoint.ts';
import { nodeShape } from '../shapes.ts';

export const runtimes = {
  list: endpoint({
    method: 'GET',
    path: '/v1/runtimes',
    summary: 'Runtimes with their Nodes.',
    permission: 'nodes.read',
    scope: 'platform',
    query: (z) => pageQuery(z),
    reply: (z) =>
      page(z, z.object({ id: z.string(), name: z.string(), labels: z.record(z.string(), z.string()), nodes: z.array(z.string()) })),
  }),
};

const scheduling = <const Verb extends 'cordon' | 'uncordon' | 'drain'>(verb: Verb, summary: string) =>
  endpoint({
    method: 'POST',
    path: `/v1/nodes/{node}/${verb}`,
    summary,
    permission: 'nodes.write',
    scope: 'node',
    reply: (z) => nodeShape(z),
    errors: ['not_found', 'conflict'],
  });

export const nodes = {
  list: endpoint({
    method: 'GET',
    path: '/v1/nodes',
    summary: 'Nodes with what they offer and what is asked of them.',
    permission: 'nodes.read',
    scope: 'platform',
    query: (z) => pageQuery(z),
    reply: (z) => page(z, nodeShape(z)),
  }),
  get: endpoint({
    method: 'GET',
    path: '/v1/nodes/{node}',
    summary: 'One Node by name.',
    permission: 'nodes.read',
    scope: 'node',
    reply: (z) => nodeShape(z),
    errors: ['not_found'],
  }),
  update: endpoint({
    method: 'PATCH',
    path: '/v1/nodes/{node}',
    summary: 'What is said of a Node beside what its agent reports. What is absent stays; null takes a label, a device or the space away.',
    permission: 'nodes.write',
    scope: 'node',
    body: (z) =>
      z.object({
        labels: z.record(z.string(), z.string().nullable()).optional(),
        overcommit: z.object({ cpu: z.number().min(0.1).max(100).optional(), memory: z.number().min(0.1).max(100).optional() }).optional(),
        reserved: z.number().min(0).max(0.9).optional(),
        devices: z.record(z.string(), z.number().int().min(1).max(1000).nullable()).optional(),
        volumeBytes: z.number().int().min(0).nullable().optional(),
      }),
    reply: (z) => nodeShape(z),
    errors: ['not_found', 'conflict'],
  }),
  cordon: scheduling('cordon', 'Keeps what runs there, places nothing new.'),
  uncordon: scheduling('uncordon', 'Opens the Node for placement again.'),
  drain: scheduling('drain', 'Moves everything away, one by one, start-first where possible.'),
};
