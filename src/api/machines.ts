// The internal contract between control and a machine that joins: it brings a token and its public key and gets a certificate, with which
// it comes from then on.

import { endpoint } from './endpoint.ts';
import type { Z } from './endpoint.ts';

const certificateShape = (z: Z) =>
  z.object({
    nodeId: z.string(),
    /** Of the Node. */
    name: z.string(),
    roles: z.array(z.enum(['agent', 'edge'])),
    certificatePem: z.string(),
    authorityPem: z.string(),
  });

/** What makes a machine a control plane of this platform. All of it is secret. */
const controlShape = (z: Z) =>
  z.object({
    /** Of its Node; null: as the machine is called. */
    name: z.string().nullable(),
    /** 64 hexadecimal digits. */
    masterKey: z.string(),
    /** Settings that all control planes share, by their variables; the store among them. */
    variables: z.record(z.string(), z.string()),
    /** `name:password` of the store. */
    storeLogin: z.string().nullable(),
    /** Of the store, as PEM. */
    storeTls: z.object({ ca: z.string(), cert: z.string().nullable(), key: z.string().nullable() }).nullable(),
  });

const publicKey = (z: Z) => z.string().max(1000).describe('SPKI PEM, P-256');

export const machines = {
  join: endpoint({
    method: 'POST',
    path: '/v1/machines/join',
    summary: 'A certificate for a machine that was invited; the same again for the same key.',
    permission: 'public',
    scope: 'none',
    body: (z) => z.object({ token: z.string().max(300), hostname: z.string().max(300), publicKeyPem: publicKey(z) }),
    reply: (z) => certificateShape(z),
    errors: ['unsupported'],
    internal: true,
  }),
  joinControl: endpoint({
    method: 'POST',
    path: '/v1/machines/join-control',
    summary: 'What a machine needs that was invited to be a control plane; the same again for the same key.',
    permission: 'public',
    scope: 'none',
    body: (z) => z.object({ token: z.string().max(300), hostname: z.string().max(300), publicKeyPem: publicKey(z) }),
    reply: (z) => controlShape(z),
    errors: ['unsupported'],
    internal: true,
    tellsSecret: true,
  }),
  authority: endpoint({
    method: 'GET',
    path: '/v1/machines/authority',
    summary: 'Certificate of the authority that machines know each other by, as PEM.',
    permission: 'nodes.read',
    scope: 'platform',
    reply: (z) => z.object({ certificate: z.string() }),
  }),
  controls: endpoint({
    method: 'GET',
    path: '/v1/machines/controls',
    summary: 'Where the calling machine reaches the control planes that there are.',
    permission: 'machine.renew',
    scope: 'none',
    reply: (z) => z.object({ urls: z.array(z.string()).describe('over TLS; the one that answers first') }),
    internal: true,
  }),
  renew: endpoint({
    method: 'POST',
    path: '/v1/machines/renew',
    summary: 'A certificate for the next key of the calling machine.',
    permission: 'machine.renew',
    scope: 'none',
    body: (z) => z.object({ publicKeyPem: publicKey(z) }),
    reply: (z) => certificateShape(z),
    errors: ['unsupported'],
    internal: true,
  }),
};
