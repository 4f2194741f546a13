// What happened, as a bounded list and as a stream.

import { endpoint, page, pageQuery } from '../endpoint.ts';
import { eventShape, nameShape } from '../shapes.ts';

export const events = {
  list: endpoint({
    method: 'GET',
    path: '/v1/events',
    summary: 'Events, newest first; of one App where asked.',
    permission: 'events.read',
    scope: 'platform',
    query: (z) => pageQuery(z).extend({ app: nameShape(z).optional() }),
    reply: (z) => page(z, eventShape(z)),
  }),
  follow: endpoint({
    method: 'GET',
    path: '/v1/events/stream',
    kind: 'sse',
    summary: 'New events as they happen; a reconnect with Last-Event-ID goes on without a gap.',
    permission: 'events.read',
    scope: 'platform',
    query: (z) => z.object({ app: nameShape(z).optional() }),
    reply: (z) => eventShape(z),
  }),
};
