// Uploads and downloads of content-addressed blobs.

import { endpoint } from '../endpoint.ts';

export const blobs = {
  stat: endpoint({
    method: 'GET',
    path: '/v1/blobs/{digest}/status',
    summary: 'Whether the blob is whole, and how many bytes of an unfinished upload are kept.',
    permission: 'blobs.read',
    scope: 'platform',
    reply: (z) => z.object({ complete: z.boolean(), offset: z.number(), sizeBytes: z.number().nullable() }),
  }),
  upload: endpoint({
    method: 'PUT',
    path: '/v1/blobs/{digest}',
    kind: 'upload',
    summary: 'Bytes from `offset` on. With `final` the digest is verified at the end. After a break, ask status and go on from there.',
    permission: 'blobs.write',
    scope: 'platform',
    query: (z) => z.object({ offset: z.coerce.number().int().min(0).default(0), final: z.stringbool().default(true) }),
    reply: (z) => z.object({ complete: z.boolean(), offset: z.number(), sizeBytes: z.number().nullable() }),
    errors: ['conflict', 'bundle_invalid', 'too_large', 'storage_failed'],
  }),
  download: endpoint({
    method: 'GET',
    path: '/v1/blobs/{digest}',
    kind: 'download',
    summary: 'The bytes; honours a single Range. With `here`, only where this control plane has them itself.',
    permission: 'blobs.read',
    scope: 'platform',
    query: (z) => z.object({ here: z.stringbool().default(false) }),
    errors: ['not_found'],
  }),
};
