// What an administrator lets the containers of Apps do with the machines under them.

import { endpoint, page, pageQuery } from '../endpoint.ts';
import type { Z } from '../endpoint.ts';

const grantShape = (z: Z) =>
  z.object({
    id: z.string(),
    app: z.string(),
    /** null: every Environment of the App. */
    environment: z.string().nullable(),
    /** `privileged`, `network`, `device:<path>`, `folder:<path>` or `folder:<path>:ro`; a path stands for all below it. */
    power: z.string(),
    createdAtMs: z.number(),
    createdBy: z.string(),
  });

export const grants = {
  list: endpoint({
    method: 'GET',
    path: '/v1/grants',
    summary: 'What containers of which Apps may do with the machines that they run on.',
    permission: 'platform.read',
    scope: 'platform',
    query: (z) => pageQuery(z),
    reply: (z) => page(z, grantShape(z)),
  }),
  create: endpoint({
    method: 'POST',
    path: '/v1/apps/{app}/grants',
    summary: 'Lets the containers of an App do something with the machines that they run on. One that is there already is answered.',
    permission: 'platform.admin',
    scope: 'platform',
    body: (z) => z.object({ power: z.string().min(1).max(1100), environment: z.string().max(30).optional() }),
    status: 201,
    reply: (z) => grantShape(z),
    errors: ['not_found'],
  }),
  delete: endpoint({
    method: 'DELETE',
    path: '/v1/grants/{grant}',
    summary: 'Takes a grant back. What runs with it goes on until it is started the next time.',
    permission: 'platform.admin',
    scope: 'platform',
    status: 204,
    errors: ['not_found'],
  }),
};
