// The last server of a chain: it notes what arrived, as its own parser understood it, and answers each request with a short text.

import { once } from 'node:events';
import http from 'node:http';
import type { Understood } from './message.ts';

export interface Recorder {
  readonly port: number;
  /** What has arrived since the last call. */
  take(): Understood[];
  /** Lower-case names of the fields of the requests that `take` gave last. */
  fields(): ReadonlySet<string>;
  stop(): Promise<void>;
}

export async function startRecorder(): Promise<Recorder> {
  let seen: Understood[] = [];
  let names = new Set<string>();
  let taken = names;
  const server = http.createServer(
    { requireHostHeader: false, maxHeaderSize: 128 * 1024, keepAliveTimeout: 30_000 },
    (request, response) => {
      // Noted at its head, so that the order is that of arrival.
      const note = { method: request.method ?? '', target: request.url ?? '', host: request.headers.host ?? '', body: '' };
      request.on('data', (chunk: Buffer) => (note.body += chunk.toString('latin1')));
      // Only what arrives whole was understood; a message that is broken off has no effect.
      request.on('end', () => {
        seen.push(note);
        for (const name of Object.keys(request.headers)) names.add(name);
        response.writeHead(200, { 'content-type': 'text/plain', 'content-length': '2' });
        response.end(request.method === 'HEAD' ? undefined : 'ok');
      });
    },
  );
  // Whoever gets as far as an upgrade has let one through.
  server.on('upgrade', (request, socket) => {
    seen.push({ method: request.method ?? '', target: request.url ?? '', host: request.headers.host ?? '', body: '<upgraded>' });
    socket.end();
  });
  server.maxHeadersCount = 0;
  server.listen(0, '127.0.0.1');
  await once(server, 'listening');
  const address = server.address();
  if (address === null || typeof address === 'string') throw new Error('the recorder has no port');
  return {
    port: address.port,
    take: () => {
      const all = seen;
      seen = [];
      taken = names;
      names = new Set();
      return all;
    },
    fields: () => taken,
    stop: async () => {
      server.close();
      server.closeAllConnections();
      await once(server, 'close');
    },
  };
}
