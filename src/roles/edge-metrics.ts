// What the Edge says over its admin sockets: its metrics, so that one /metrics tells about the whole platform, and whether it serves.

import { request } from 'node:http';
import type { Clock } from '../lib/clock.ts';
import { sumMetrics } from './sum-metrics.ts';

const DEADLINE_MS = 1000;
const LOOK_MS = 10;
/** All series that a worker may have, with long names. */
const MAX_BYTES = 32 * 1024 * 1024;

/** @param socketPaths of the workers. */
export async function edgeMetrics(socketPaths: readonly string[]): Promise<string> {
  const pages = await Promise.all(socketPaths.map((path) => ask(path, '/metrics')));
  return sumMetrics(new Map(pages.map((page, worker) => [String(worker), page])));
}

/** Resolves with true when every worker follows control with a table in force, with false after so long. */
export async function edgesServe(socketPaths: readonly string[], clock: Clock, timeoutMs: number): Promise<boolean> {
  const endMs = clock.monotonic() + timeoutMs;
  for (const path of socketPaths) {
    while (!/"sequence":\d+,"connected":true/u.test(await ask(path, '/healthz'))) {
      if (clock.monotonic() > endMs) return false;
      await clock.sleep(LOOK_MS);
    }
  }
  return true;
}

/** The text; empty where the Edge does not answer in time, for the rest is worth having without it. */
function ask(socketPath: string, page: '/metrics' | '/healthz'): Promise<string> {
  return new Promise((resolve) => {
    const call = request({ socketPath, path: page, timeout: DEADLINE_MS }, (response) => {
      const chunks: Buffer[] = [];
      let bytes = 0;
      response.on('data', (chunk: Buffer) => {
        bytes += chunk.length;
        if (bytes > MAX_BYTES) call.destroy();
        else chunks.push(chunk);
      });
      response.on('error', () => resolve(''));
      response.on('end', () => resolve(response.statusCode === 200 ? Buffer.concat(chunks).toString('utf8') : ''));
    });
    call.on('timeout', () => call.destroy());
    call.on('error', () => resolve(''));
    call.end();
  });
}
