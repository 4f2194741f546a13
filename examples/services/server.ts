// Every visit is counted with compare-and-set, so that none is lost however many Instances count; one Instance leads, and all know which.

import { createServer } from 'node:http';
import { createLibrad } from './librad.ts';
import type { Holder } from './librad.ts';

const librad = createLibrad(process.env);
const ended = new AbortController();
const me = process.env['LIBRA_INSTANCE'] ?? '';
let leader: Holder | null = null;

async function visit(): Promise<number> {
  for (;;) {
    const now = await librad.kv.get('visits');
    const visits = Number(now?.value ?? 0) + 1;
    if ((await librad.kv.put('visits', String(visits), { ifVersion: now?.version ?? null })) !== null) return visits;
  }
}

async function lead(): Promise<void> {
  while (!ended.signal.aborted) {
    const lock = await librad.locks.acquire('leader', { ttlMs: 3_000, waitMs: 30_000, value: me, signal: ended.signal }).catch(() => null);
    if (lock === null) continue;
    console.log(`leads under ${lock.fence}`);
    await new Promise((resolve) => AbortSignal.any([lock.lost, ended.signal]).addEventListener('abort', resolve));
    if (!lock.lost.aborted) await lock.release();
  }
}

async function follow(): Promise<void> {
  for await (const holder of librad.locks.watch('leader', ended.signal)) leader = holder;
}

const server = createServer((request, response) => {
  if (request.url === '/healthz') return response.end('ok');
  if (request.url === '/leader') return response.end(JSON.stringify({ me, pid: process.pid, leader: leader?.value ?? null }));
  visit().then(
    (visits) => response.end(`${visits}\n`),
    (error: unknown) => {
      console.error(error);
      response.writeHead(503).end('not counted\n');
    },
  );
  return undefined;
});
server.listen(Number(process.env['PORT']), process.env['HOST']);
process.once('SIGTERM', () => {
  ended.abort();
  server.close();
});
const working = [lead(), follow()];
await Promise.all(working);
