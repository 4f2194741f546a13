// Apps and their Releases.

import { endpoint, page, pageQuery } from '../endpoint.ts';
import { appShape, digestShape, nameShape, releaseShape } from '../shapes.ts';

export const apps = {
  list: endpoint({
    method: 'GET',
    path: '/v1/apps',
    summary: 'Apps with the state of their Environments, by name.',
    permission: 'apps.read',
    scope: 'platform',
    query: (z) => pageQuery(z),
    reply: (z) => page(z, appShape(z)),
  }),
  create: endpoint({
    method: 'POST',
    path: '/v1/apps',
    summary: 'Makes an App with its production Environment.',
    permission: 'apps.create',
    scope: 'platform',
    body: (z) => z.object({ name: nameShape(z), gitUrl: z.url().max(500).nullable().default(null) }),
    reply: (z) => appShape(z),
    status: 201,
    errors: ['exists'],
  }),
  get: endpoint({
    method: 'GET',
    path: '/v1/apps/{app}',
    summary: 'One App.',
    permission: 'apps.read',
    scope: 'app',
    reply: (z) => appShape(z),
    errors: ['not_found'],
  }),
  delete: endpoint({
    method: 'DELETE',
    path: '/v1/apps/{app}',
    summary:
      'Stops and deletes an App with all Environments, Releases and values. What its volumes hold stays on the Nodes. The query must repeat the name.',
    permission: 'apps.delete',
    scope: 'app',
    query: (z) => z.object({ confirm: nameShape(z) }),
    reply: (z) => appShape(z),
    status: 202,
    errors: ['not_found', 'precondition_failed'],
  }),
};

export const releases = {
  list: endpoint({
    method: 'GET',
    path: '/v1/apps/{app}/releases',
    summary: 'Releases, newest first.',
    permission: 'apps.read',
    scope: 'app',
    query: (z) => pageQuery(z),
    reply: (z) => page(z, releaseShape(z)),
    errors: ['not_found'],
  }),
  create: endpoint({
    method: 'POST',
    path: '/v1/apps/{app}/releases',
    summary: 'Makes a Release from a manifest and an uploaded bundle; starts its build where it needs one. The App is made if it is new.',
    permission: 'releases.create',
    scope: 'platform',
    bodyLimitBytes: 2 * 1024 * 1024,
    body: (z) =>
      z.object({
        manifest: z
          .string()
          .max(256 * 1024)
          .describe('Text of libra.yaml'),
        bundle: digestShape(z).nullable().default(null).describe('Digest of the uploaded folder; null where an image runs'),
        label: z.string().max(100).nullable().default(null),
        source: z
          .object({ kind: z.enum(['folder', 'git', 'image', 'package']), description: z.string().max(500) })
          .default({ kind: 'folder', description: '' }),
      }),
    reply: (z) => releaseShape(z),
    status: 201,
    errors: ['manifest_invalid', 'not_found', 'bundle_invalid', 'conflict', 'too_large'],
  }),
  get: endpoint({
    method: 'GET',
    path: '/v1/apps/{app}/releases/{release}',
    summary: 'One Release by number.',
    permission: 'apps.read',
    scope: 'app',
    reply: (z) => releaseShape(z),
    errors: ['not_found'],
  }),
};
