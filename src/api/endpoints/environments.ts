// Environments: where an App runs, its scale, values, secrets and routes.

import { endpoint, page, pageQuery } from '../endpoint.ts';
import { environmentShape, nameShape, routeShape } from '../shapes.ts';

const valueInfo = (z: Parameters<typeof nameShape>[0]) =>
  z.object({
    name: z.string(),
    version: z.number(),
    /** Whether the stable Deployment uses this version, an older one, or none. */
    deployed: z.enum(['current', 'older', 'none']),
    updatedAtMs: z.number(),
    updatedBy: z.string(),
  });

const variableName = (z: Parameters<typeof nameShape>[0]) =>
  z
    .string()
    .max(100)
    .regex(/^[A-Za-z_][A-Za-z0-9_]*$/u, 'must be a name such as LOG_LEVEL');

export const environments = {
  list: endpoint({
    method: 'GET',
    path: '/v1/apps/{app}/environments',
    summary: 'Environments of an App.',
    permission: 'apps.read',
    scope: 'app',
    query: (z) => pageQuery(z),
    reply: (z) => page(z, environmentShape(z)),
    errors: ['not_found'],
  }),
  create: endpoint({
    method: 'POST',
    path: '/v1/apps/{app}/environments',
    summary: 'Makes an Environment.',
    permission: 'deployments.create',
    scope: 'app',
    body: (z) => z.object({ name: nameShape(z), runtime: nameShape(z).optional() }),
    reply: (z) => environmentShape(z),
    status: 201,
    errors: ['not_found', 'exists'],
  }),
  get: endpoint({
    method: 'GET',
    path: '/v1/apps/{app}/environments/{environment}',
    summary: 'One Environment with its Entrypoints.',
    permission: 'apps.read',
    scope: 'environment',
    reply: (z) => environmentShape(z),
    errors: ['not_found'],
  }),
  delete: endpoint({
    method: 'DELETE',
    path: '/v1/apps/{app}/environments/{environment}',
    summary: 'Stops and deletes an Environment. The query must repeat the name.',
    permission: 'apps.delete',
    scope: 'environment',
    query: (z) => z.object({ confirm: nameShape(z) }),
    reply: (z) => environmentShape(z),
    status: 202,
    errors: ['not_found', 'precondition_failed'],
  }),
  scale: endpoint({
    method: 'POST',
    path: '/v1/apps/{app}/environments/{environment}/scale',
    summary: 'Sets how many Instances each named Entrypoint shall have; null drops the override.',
    permission: 'scale',
    scope: 'environment',
    body: (z) => z.object({ entrypoints: z.record(nameShape(z), z.number().int().min(0).max(1000).nullable()) }),
    reply: (z) => environmentShape(z),
    errors: ['not_found', 'plan_refused', 'no_capacity', 'conflict'],
  }),
  stop: endpoint({
    method: 'POST',
    path: '/v1/apps/{app}/environments/{environment}/stop',
    summary: 'Stops all Instances and schedules until start; requests get a page that says so.',
    permission: 'scale',
    scope: 'environment',
    reply: (z) => environmentShape(z),
    errors: ['not_found', 'conflict'],
  }),
  start: endpoint({
    method: 'POST',
    path: '/v1/apps/{app}/environments/{environment}/start',
    summary: 'Ends a stop.',
    permission: 'scale',
    scope: 'environment',
    reply: (z) => environmentShape(z),
    errors: ['not_found', 'conflict'],
  }),
  pause: endpoint({
    method: 'POST',
    path: '/v1/apps/{app}/environments/{environment}/pause',
    summary:
      'New requests wait at the Edge, in order; those that wait too long get a page. Instances go on. Answers when every Edge does so.',
    permission: 'scale',
    scope: 'environment',
    body: (z) => z.object({ maxMs: z.number().int().min(0).max(600_000).default(30_000).describe('so long from now on requests wait') }),
    reply: (z) => environmentShape(z),
    errors: ['not_found', 'conflict', 'timeout'],
  }),
  resume: endpoint({
    method: 'POST',
    path: '/v1/apps/{app}/environments/{environment}/resume',
    summary: 'Ends a pause: what waits flows, in order.',
    permission: 'scale',
    scope: 'environment',
    reply: (z) => environmentShape(z),
    errors: ['not_found', 'conflict'],
  }),
  routes: endpoint({
    method: 'GET',
    path: '/v1/apps/{app}/environments/{environment}/routes',
    summary: 'Routes in force.',
    permission: 'apps.read',
    scope: 'environment',
    reply: (z) => z.object({ items: z.array(routeShape(z)) }),
    errors: ['not_found'],
  }),
};

export const env = {
  list: endpoint({
    method: 'GET',
    path: '/v1/apps/{app}/environments/{environment}/env',
    summary: 'Names and versions of the values set with `libra env set`. Values are never answered.',
    permission: 'config.read',
    scope: 'environment',
    reply: (z) => z.object({ items: z.array(valueInfo(z)) }),
    errors: ['not_found'],
  }),
  set: endpoint({
    method: 'PATCH',
    path: '/v1/apps/{app}/environments/{environment}/env',
    summary: 'Sets values (a string) and unsets them (null). They reach Instances with the next Deployment.',
    permission: 'config.write',
    scope: 'environment',
    bodyLimitBytes: 1024 * 1024,
    body: (z) =>
      z.object({
        values: z.record(
          variableName(z),
          z
            .string()
            .max(64 * 1024)
            .nullable(),
        ),
      }),
    reply: (z) => z.object({ items: z.array(valueInfo(z)) }),
    errors: ['not_found', 'conflict'],
  }),
};

export const secrets = {
  list: endpoint({
    method: 'GET',
    path: '/v1/apps/{app}/environments/{environment}/secrets',
    summary: 'Names and versions of Secrets.',
    permission: 'config.read',
    scope: 'environment',
    reply: (z) => z.object({ items: z.array(valueInfo(z)) }),
    errors: ['not_found'],
  }),
  set: endpoint({
    method: 'PUT',
    path: '/v1/apps/{app}/environments/{environment}/secrets/{secret}',
    summary: 'Writes a new version of a Secret. base64 carries values that are not text.',
    permission: 'config.write',
    scope: 'environment',
    bodyLimitBytes: 256 * 1024,
    body: (z) => z.object({ value: z.string().max(180 * 1024), encoding: z.enum(['text', 'base64']).default('text') }),
    reply: (z) => valueInfo(z),
    errors: ['not_found', 'conflict', 'too_large'],
  }),
  delete: endpoint({
    method: 'DELETE',
    path: '/v1/apps/{app}/environments/{environment}/secrets/{secret}',
    summary: 'Unsets a Secret; Deployments that use it can then no longer be rolled back to.',
    permission: 'config.write',
    scope: 'environment',
    status: 204,
    errors: ['not_found', 'conflict'],
  }),
};
