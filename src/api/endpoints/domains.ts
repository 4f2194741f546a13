// Host names and their certificates.

import { endpoint } from '../endpoint.ts';

export const domains = {
  authority: endpoint({
    method: 'GET',
    path: '/v1/domains/authority',
    summary: "Certificate of the platform's own authority, as PEM.",
    permission: 'apps.read',
    scope: 'platform',
    reply: (z) => z.object({ certificate: z.string() }),
  }),
};
