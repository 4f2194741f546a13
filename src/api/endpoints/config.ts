// librad.config: what the Instance that calls was started with, and what has been set since.

import { endpoint } from '../endpoint.ts';
import type { Z } from '../endpoint.ts';

const at = (z: Z) =>
  z.object({
    /** deployed: as the Deployment of the caller has it. newest: as it is set now, of the names that this Deployment has. */
    at: z.enum(['deployed', 'newest']).default('deployed'),
  });

const configShape = (z: Z) =>
  z.object({
    variables: z.array(
      z.object({
        name: z.string(),
        value: z.string(),
        /** null: it is written in the manifest. */
        version: z.number().nullable(),
        /** A newer version is set than the caller's Deployment has. */
        isOutdated: z.boolean(),
      }),
    ),
    files: z.array(
      z.object({
        path: z.string(),
        contentBase64: z.string(),
        version: z.number(),
        isOutdated: z.boolean(),
      }),
    ),
  });

export const config = {
  get: endpoint({
    method: 'GET',
    path: '/v1/librad/config',
    summary: 'Variables and secret files of the own Entrypoint.',
    permission: 'librad.config',
    scope: 'none',
    query: at,
    reply: configShape,
    errors: ['not_found'],
  }),
  watch: endpoint({
    method: 'GET',
    path: '/v1/librad/config/watch',
    kind: 'sse',
    summary: 'The same now, and as a whole whenever it has become something else.',
    permission: 'librad.config',
    scope: 'none',
    query: at,
    reply: configShape,
    errors: ['not_found'],
  }),
};
