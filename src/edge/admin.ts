// The small window of a data-plane process for the platform: metrics, health and table on a Unix socket that only the platform's user can open.

import http from 'node:http';
import { chmod, rename, rm, stat } from 'node:fs/promises';
import type { Edge } from './edge.ts';
import type { KeptTable } from '../dataplane/table-state.ts';

/** Private keys stay where they are. */
function withoutKeys(state: KeptTable | null): unknown {
  if (state?.table.certificates === undefined) return state;
  const certificates = state.table.certificates.map(({ name, untilMs }) => ({ name, untilMs }));
  return { ...state, table: { ...state.table, certificates } };
}

export interface Admin {
  start(): Promise<void>;
  stop(): Promise<void>;
}

export function createAdmin(options: { readonly socketPath: string; readonly edge: Edge; readonly furtherMetrics?: () => string }): Admin {
  const { socketPath, edge, furtherMetrics } = options;
  let inode: bigint | null = null;
  let listening = false;
  const server = http.createServer((request, response) => {
    const answer = (type: string, body: string): void => {
      response.writeHead(200, { 'content-type': type, 'content-length': Buffer.byteLength(body) });
      response.end(body);
    };
    if (request.url === '/metrics') return answer('text/plain; version=0.0.4; charset=utf-8', edge.metrics() + (furtherMetrics?.() ?? ''));
    if (request.url === '/healthz') return answer('application/json', JSON.stringify(edge.health()));
    if (request.url === '/table') return answer('application/json', JSON.stringify(withoutKeys(edge.table())));
    response.writeHead(404);
    response.end();
  });
  server.keepAliveTimeout = 1_000;

  return {
    start: async () => {
      // Bound under another name and moved into place: a predecessor that still drains keeps its socket until now, and takes away only
      // its own name when it closes.
      const temporary = `${socketPath}.${process.pid}`;
      await rm(temporary, { force: true });
      await new Promise<void>((resolve, reject) => {
        server.once('error', reject);
        server.listen(temporary, () => {
          server.off('error', reject);
          resolve();
        });
      });
      listening = true;
      await chmod(temporary, 0o600);
      inode = (await stat(temporary, { bigint: true })).ino;
      await rename(temporary, socketPath);
    },
    stop: async () => {
      if (!listening) return;
      const closed = new Promise<void>((resolve) => {
        server.close(() => resolve());
      });
      server.closeAllConnections();
      await closed;
      const current = await stat(socketPath, { bigint: true }).catch(() => null);
      if (current !== null && current.ino === inode) await rm(socketPath, { force: true });
    },
  };
}
