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
  cordon: scheduling('cordon', 'Keeps what runs there, places nothing new.'),
  uncordon: scheduling('uncordon', 'Opens the Node for placement again.'),
  drain: scheduling('drain', 'Moves everything away, one by one, start-first where possible.'),
};
