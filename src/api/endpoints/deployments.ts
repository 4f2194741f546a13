// Deployments: plan, make, follow, promote, cancel.

import { endpoint, page, pageQuery } from '../endpoint.ts';
import { canaryPlanShape, deploymentShape, nameShape, planShape } from '../shapes.ts';

export const plans = {
  create: endpoint({
    method: 'POST',
    path: '/v1/plan',
    summary: 'What a Deployment would change, and whether it can be carried out. Nothing is written.',
    permission: 'apps.read',
    scope: 'platform',
    bodyLimitBytes: 2 * 1024 * 1024,
    body: (z) =>
      z.object({
        environment: nameShape(z).default('production'),
        manifest: z
          .string()
          .max(256 * 1024)
          .nullable()
          .default(null)
          .describe('Text of libra.yaml; or name an App and a Release'),
        app: nameShape(z).nullable().default(null),
        release: z.number().int().min(1).nullable().default(null),
        reset: z.boolean().default(false).describe('Drop the overrides of the Environment'),
        canary: canaryPlanShape(z).nullable().optional().describe('null: it is rolled out at once; absent: as the manifest says'),
      }),
    reply: (z) => planShape(z),
    errors: ['manifest_invalid', 'not_found'],
  }),
};

export const deployments = {
  list: endpoint({
    method: 'GET',
    path: '/v1/apps/{app}/environments/{environment}/deployments',
    summary: 'Deployments, newest first.',
    permission: 'apps.read',
    scope: 'environment',
    query: (z) => pageQuery(z),
    reply: (z) => page(z, deploymentShape(z)),
    errors: ['not_found'],
  }),
  create: endpoint({
    method: 'POST',
    path: '/v1/apps/{app}/environments/{environment}/deployments',
    summary: 'Brings a Release into the Environment, which is made if it is new. Follow it with the events stream.',
    permission: 'deployments.create',
    scope: 'app',
    body: (z) =>
      z.discriminatedUnion('cause', [
        z.strictObject({
          cause: z.literal('deploy'),
          release: z.number().int().min(1),
          reset: z.boolean().default(false),
          canary: canaryPlanShape(z).nullable().optional().describe('null: it is rolled out at once; absent: as the manifest says'),
        }),
        z.strictObject({
          cause: z.literal('rollback'),
          to: z
            .number()
            .int()
            .min(1)
            .nullable()
            .default(null)
            .describe('Number of a Deployment; null: the last one that succeeded before the stable one'),
          beforeDeploy: z.boolean().default(false),
        }),
        z.strictObject({ cause: z.literal('restart') }),
        z.strictObject({ cause: z.literal('config') }),
      ]),
    reply: (z) => deploymentShape(z),
    status: 202,
    errors: ['not_found', 'plan_refused', 'no_capacity', 'conflict'],
  }),
  get: endpoint({
    method: 'GET',
    path: '/v1/apps/{app}/environments/{environment}/deployments/{deployment}',
    summary: 'One Deployment by number.',
    permission: 'apps.read',
    scope: 'environment',
    reply: (z) => deploymentShape(z),
    errors: ['not_found'],
  }),
  follow: endpoint({
    method: 'GET',
    path: '/v1/apps/{app}/environments/{environment}/deployments/{deployment}/events',
    kind: 'sse',
    summary: 'The Deployment anew at every change, until it has ended.',
    permission: 'apps.read',
    scope: 'environment',
    reply: (z) => deploymentShape(z),
    errors: ['not_found'],
  }),
  promote: endpoint({
    method: 'POST',
    path: '/v1/apps/{app}/environments/{environment}/deployments/{deployment}/promote',
    summary: 'Gives a canary everything, or the named share.',
    permission: 'deployments.create',
    scope: 'environment',
    body: (z) => z.object({ percent: z.number().min(0).max(100).nullable().default(null).describe('null: everything, for good') }),
    reply: (z) => deploymentShape(z),
    status: 202,
    errors: ['not_found', 'conflict'],
  }),
  cancel: endpoint({
    method: 'POST',
    path: '/v1/apps/{app}/environments/{environment}/deployments/{deployment}/cancel',
    summary: 'Takes an unfinished Deployment back.',
    permission: 'deployments.create',
    scope: 'environment',
    reply: (z) => deploymentShape(z),
    status: 202,
    errors: ['not_found', 'conflict'],
  }),
};
