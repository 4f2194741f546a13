// librad.discovery: what the Instance that calls can reach, and how many there are to answer.

import { endpoint } from '../endpoint.ts';
import type { Z } from '../endpoint.ts';

const discoveryShape = (z: Z) =>
  z.object({
    app: z.string(),
    environment: z.string(),
    /** For people and browsers, through the Edge; null: there is none. */
    url: z.string().nullable(),
    entrypoints: z.array(z.object({ name: z.string(), wanted: z.number(), healthy: z.number() })),
    /** Those that the App's `uses` names. */
    services: z.array(
      z.object({
        /** `<app>.<name>`, as in the variables and in paths at the API Proxy. */
        service: z.string(),
        app: z.string(),
        name: z.string(),
        /** Of whom is asked; null: the platform itself. */
        environment: z.string().nullable(),
        /** Below LIBRA_APIPROXY. */
        path: z.string(),
        /** Where names lead to the API Proxy. */
        host: z.string(),
        /** Instances that answer; null: the platform itself does. */
        healthy: z.number().nullable(),
        /** Why a call would be refused; null: it would not be, but for what it asks. */
        problem: z.string().nullable(),
      }),
    ),
  });

export const discovery = {
  get: endpoint({
    method: 'GET',
    path: '/v1/librad/discovery',
    summary: 'The own Entrypoints and the Services that the App uses.',
    permission: 'librad.discovery',
    scope: 'none',
    reply: discoveryShape,
    errors: ['not_found'],
  }),
  watch: endpoint({
    method: 'GET',
    path: '/v1/librad/discovery/watch',
    kind: 'sse',
    summary: 'The same now, and as a whole whenever it has become something else.',
    permission: 'librad.discovery',
    scope: 'none',
    reply: discoveryShape,
    errors: ['not_found'],
  }),
};
