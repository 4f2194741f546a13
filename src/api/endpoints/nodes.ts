// Runtimes and Nodes.

import { endpoint, page, pageQuery } from '../endpoint.ts';
import type { Z } from '../endpoint.ts';
import { nodeShape, usagePointsShape } from '../shapes.ts';

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
  stats: endpoint({
    method: 'GET',
    path: '/v1/nodes/{node}/stats',
    summary:
      'What the machine as a whole did over time, as it has kept it: steps of ten seconds for an hour, of five minutes for two days.',
    permission: 'nodes.read',
    scope: 'node',
    query: (z) =>
      z.object({
        since: z.coerce.number().int().min(0).optional().describe('UTC milliseconds; default an hour ago'),
        until: z.coerce.number().int().min(0).optional().describe('UTC milliseconds; default now'),
      }),
    reply: (z) => z.object({ node: z.string(), stepMs: z.number(), points: usagePointsShape(z) }),
    errors: ['not_found', 'unavailable'],
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
  remove: endpoint({
    method: 'DELETE',
    path: '/v1/nodes/{node}',
    summary: 'Takes the machine out for good: what it is known by counts no more.',
    permission: 'nodes.write',
    scope: 'node',
    query: (z) => z.object({ force: z.enum(['true', 'false']).default('false').describe('although it has Instances, which are given up') }),
    reply: (z) => z.object({ name: z.string(), lostInstances: z.number() }),
    errors: ['not_found', 'conflict'],
  }),
  cordon: scheduling('cordon', 'Keeps what runs there, places nothing new.'),
  uncordon: scheduling('uncordon', 'Opens the Node for placement again.'),
  drain: scheduling('drain', 'Moves everything away, one by one, start-first where possible.'),
};

const invitationShape = (z: Z) =>
  z.object({
    id: z.string(),
    name: z.string().nullable(),
    runtime: z.string(),
    roles: z.array(z.string()),
    labels: z.record(z.string(), z.string()),
    createdAtMs: z.number(),
    expiresAtMs: z.number(),
    /** The Node that came with it, or `a control plane`; null: none so far. */
    usedBy: z.string().nullable(),
  });

const expiresInMs = (z: Z) =>
  z
    .number()
    .int()
    .min(60_000)
    .max(7 * 86_400_000)
    .default(3_600_000);

export const invitations = {
  list: endpoint({
    method: 'GET',
    path: '/v1/invitations',
    summary: 'Machines that may join, and those that did lately.',
    permission: 'nodes.read',
    scope: 'platform',
    query: (z) => pageQuery(z),
    reply: (z) => page(z, invitationShape(z)),
  }),
  create: endpoint({
    method: 'POST',
    path: '/v1/invitations',
    summary: 'Leave for one machine to join, once and within a time. The token is told this once.',
    permission: 'nodes.write',
    scope: 'platform',
    body: (z) =>
      z.object({
        name: z.string().max(30).optional(),
        runtime: z.string().max(30).default('default'),
        roles: z
          .array(z.enum(['agent', 'edge']))
          .min(1)
          .max(2)
          .default(['agent']),
        labels: z.record(z.string(), z.string()).default({}),
        expiresInMs: expiresInMs(z),
      }),
    status: 201,
    reply: (z) => invitationShape(z).extend({ token: z.string(), url: z.string() }),
    errors: ['not_found', 'exists', 'unsupported'],
    tellsSecret: true,
  }),
  createControl: endpoint({
    method: 'POST',
    path: '/v1/invitations/control',
    summary: 'Leave for one machine to become a control plane: it is given the master key and the way to the store.',
    permission: 'platform.admin',
    scope: 'platform',
    body: (z) => z.object({ name: z.string().max(30).optional(), expiresInMs: expiresInMs(z) }),
    status: 201,
    reply: (z) => invitationShape(z).extend({ token: z.string(), url: z.string() }),
    errors: ['exists', 'unsupported'],
    tellsSecret: true,
  }),
  delete: endpoint({
    method: 'DELETE',
    path: '/v1/invitations/{invitation}',
    summary: 'Takes an invitation back.',
    permission: 'nodes.write',
    scope: 'platform',
    status: 204,
    errors: ['not_found'],
  }),
};
